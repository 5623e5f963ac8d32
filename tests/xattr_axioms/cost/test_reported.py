"""What is told of a map and gates nothing: how sparse it is, and how much of it is luck."""

import pytest
import torch
from judging import judge, measured
from subjects import images, tokens
from torch import Tensor, nn

import xattr_check
from xattr_check import stochastic
from xattr_check.core.run import Run
from xattr_check.statistics.sparsity import gini


def ramp(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Half of its magnitude is on one pixel."""
    found = torch.zeros_like(inputs[:, :1])
    found[:, :, 0, 0], found[:, :, 0, 1:6] = -5.0, 1.0
    return found


def test_the_share_that_holds_half(run: Run) -> None:
    verdict = judge("sparsity", ramp, images(), run)
    assert (verdict.status, verdict.gate, verdict.ungated) == ("pass", "none", True)
    assert verdict.interval is not None
    assert verdict.interval.value == pytest.approx(1 / 144)
    constant = judge("sparsity", "xattr:constant", images(), run)
    assert constant.interval is not None
    assert constant.interval.value == 0.5
    assert float(constant.evidence["gini"].abs().max()) == 0


def test_the_gini_index_is_in_the_evidence(run: Run) -> None:
    for subject in (images(), tokens()):
        found, draw = measured("sparsity", "xattr:gradient", subject, run)
        amounts = xattr_check.methods()["gradient"](subject.model, draw.inputs, draw.targets)
        wanted = gini(subject.layout.scores(amounts.abs()))
        torch.testing.assert_close(found.evidence["gini"], wanted)


def by_seed(model: nn.Module, inputs: Tensor, targets: Tensor, seed: int = 0) -> Tensor:
    """One map and as much noise, which is the same for all inputs."""
    noise = torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(seed)).to(inputs)
    return ramp(model, inputs, targets) + noise


def raised(model: nn.Module, inputs: Tensor, targets: Tensor, seed: int = 0) -> Tensor:
    return by_seed(model, inputs, targets, seed) + 100


def test_a_level_is_nothing_in_common(run: Run) -> None:
    plain, level = (measured("seed_spread", method, images(), run)[0] for method in (by_seed, raised))
    torch.testing.assert_close(level.samples, plain.samples, rtol=1e-3, atol=1e-4)


@stochastic
def by_chance(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.randn_like(inputs)


def test_the_spread_over_seeds_by_a_loop(run: Run) -> None:
    subject = images()
    found, draw = measured("seed_spread", by_seed, subject, run)
    maps = [by_seed(subject.model, draw.inputs, draw.targets, seed).double() for seed in range(3)]
    maps = [one - one.mean((1, 2, 3), keepdim=True) for one in maps]
    apart = sum(float((maps[i][0] - maps[j][0]).square().sum()) for i in range(3) for j in range(i))
    size = sum(
        float(maps[i][0].square().sum() + maps[j][0].square().sum()) for i in range(3) for j in range(i)
    )
    assert float(found.samples[0]) == pytest.approx(apart / size)


def test_what_is_luck_is_told(run: Run) -> None:
    subject = images()
    noise = judge("seed_spread", by_chance, subject, run)
    assert (noise.status, noise.ungated) == ("pass", True)
    assert noise.interval is not None
    assert noise.interval.value == pytest.approx(1, abs=0.1)
    few, many = (
        judge("seed_spread", f"xattr:smoothgrad?samples={samples}", subject, run).interval
        for samples in (4, 64)
    )
    assert few is not None
    assert many is not None
    assert few.value > 4 * many.value > 0
    nothing = judge("seed_spread", "xattr:gradient", subject, run)
    assert str(nothing) == ("seed_spread: the method has no parameter `seed`, and is not declared stochastic")
    assert nothing.status == "not_applicable"
