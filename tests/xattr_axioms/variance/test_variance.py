"""Agreement with Sobol and Morris by loops, indices of a decomposition, and where the checks say nothing."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_methods import broken
from judging import judge, measured, seeds
from scipy.stats import spearmanr
from subjects import columns, images, tokens
from torch import Tensor, nn

import xattr_check
from xattr_axioms.variance import _variance
from xattr_axioms.variance.sobol_pir import SAMPLES, untrusted
from xattr_check import Store, Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw, Run
from xattr_check.statistics.morris import trajectories
from xattr_check.statistics.sobol import bootstrap, saltelli
from xattr_methods import input_x_gradient, sobol_sbsa

CHECKS = xattr_check.checks()
AGREEMENT = ("sobol_pir", "morris_agreement")
both = pytest.mark.parametrize("check", AGREEMENT)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(store=Store(tmp_path), budget="standard")


def slow_importance(check: str, subject: Subject, draw: Draw, count: int) -> np.ndarray:
    """One forward pass for each input and row of the design; then the textbook's formula."""
    image = subject.is_image
    rows = (
        saltelli(count, 32, draw.seed)
        if check == "sobol_pir"
        else trajectories(count, 16, draw.generator("trajectories"))
    )
    over = {"image": (0, 2, 3), "embeddings": (0, 1)}.get(subject.layout.name, (0,))
    fill = subject.inputs.mean(over, keepdim=True)[0].expand_as(subject.inputs[0])
    found = np.zeros((len(draw.inputs), count))
    for n, (row, target) in enumerate(zip(draw.inputs, draw.targets, strict=True)):
        outputs = []
        for gains in rows:
            faded = row.clone()
            for region in range(count):
                down, right = region // 4 * 3, region % 4 * 3
                where = (slice(None), slice(down, down + 3), slice(right, right + 3)) if image else region
                faded[where] = fill[where] + 2 * float(gains[region]) * (row[where] - fill[where])
            with torch.no_grad():
                outputs.append(float(subject.model(faded[None])[0, target]))
        y = np.array(outputs)
        if check == "sobol_pir":
            a, b = y[:: count + 2], y[count + 1 :: count + 2]
            for k in range(count):
                found[n, k] = ((a - y[k + 1 :: count + 2]) ** 2).mean() / 2 / np.var([*a, *b])
        else:
            for k in range(count):
                (moves,) = np.nonzero(np.diff(rows[:, k].numpy()))
                moves = [move for move in moves if (move + 1) % (count + 1)]
                found[n, k] = np.abs(y[np.array(moves) + 1] - y[moves]).mean()
    return found


@both
@pytest.mark.parametrize(("kind", "count"), [(columns, 6), (tokens, 5), (images, 16)])
def test_agreement_by_a_loop(check: str, kind: Callable[..., Subject], count: int, run: Run) -> None:
    subject = kind(count=2, seed=1)
    measurement, draw = measured(check, "xattr:input_x_gradient", subject, run)
    importance = slow_importance(check, subject, draw, count)
    maps = input_x_gradient(subject.model, draw.inputs, draw.targets).double()
    if subject.is_image:
        sums = maps.sum(1).reshape(2, 4, 3, 4, 3).sum((2, 4)).flatten(1)
    else:
        sums = maps.sum(-1) if maps.ndim == 3 else maps
    wanted = [spearmanr(one, two).statistic for one, two in zip(sums.abs(), importance, strict=True)]
    assert measurement.samples.tolist() == pytest.approx(wanted, abs=1e-6)


def centred(subject: Subject) -> Subject:
    """The same with columns of mean zero, so that zero and the mean are one baseline."""
    return replace(subject, inputs=subject.inputs - subject.inputs.mean(0))


def reversed_columns(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Contributions in the wrong order."""
    return input_x_gradient(model, inputs, targets).flip(1)


@both
@pytest.mark.parametrize("seed", seeds())
def test_the_right_order_passes_and_a_wrong_one_fails(check: str, seed: int, tmp_path: Path) -> None:
    """On a linear model a region's share goes by the square of its contribution."""
    run = Run(store=Store(tmp_path), seed=seed, budget="standard")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, inputs = nn.Linear(8, 3), torch.randn(256, 8)
    subject = centred(Subject("linear", model, inputs, torch.arange(256) % 3))
    right = judge(check, "xattr:input_x_gradient", subject, run)
    assert right.status == "pass"
    assert right.interval is not None
    assert right.interval.value > 0.95
    assert judge(check, reversed_columns, subject, run).status == "fail"
    for control in ("random", "constant", "input_magnitude"):
        assert judge(check, f"xattr:{control}", subject, run).status == "fail"


@both
def test_a_sign_says_nothing_about_a_variance(check: str, run: Run) -> None:
    subject = centred(columns(count=64))

    def negative(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return -input_x_gradient(model, inputs, targets)

    one, other = (measured(check, method, subject, run)[0] for method in (input_x_gradient, negative))
    assert torch.equal(one.samples, other.samples)
    if check == "morris_agreement":
        assert torch.equal(one.evidence["signed"], -other.evidence["signed"])
        assert float(one.evidence["signed"].min()) > 0.99


def test_signed_agreement_keeps_the_signs_of_a_sensitivity(run: Run) -> None:
    subject = columns(count=24)
    signed = load_method("xattr:input_x_gradient")
    one, other = (
        measured("morris_agreement", replace(signed, sensitivity=sensitivity), subject, run)[0]
        for sensitivity in (False, True)
    )
    assert torch.equal(one.evidence["signed"], other.evidence["signed"])


class Constant(nn.Module):
    """Returns the same logits for every input."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([2.0, 1.0, 0.0]))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits + 0 * inputs.flatten(1).sum(1, keepdim=True)


@both
def test_a_model_that_ignores_its_input(check: str, run: Run) -> None:
    subject = Subject("deaf", Constant(), torch.randn(12, 6), torch.zeros(12, dtype=torch.int64))
    verdict = judge(check, "xattr:gradient", subject, run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == f"{check}: the model's output is the same whichever regions fade"


class HalfDeaf(Constant):
    """Hears only inputs that begin with a positive number."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits * (1 + (inputs[:, :1] > 0) * inputs.sum(1, keepdim=True))


@both
def test_an_input_on_which_nothing_changes_counts_as_zero(check: str, run: Run) -> None:
    inputs = torch.randn(12, 8)
    inputs[:, 0] = torch.where(torch.arange(12) < 6, 9.0, -9.0)
    subject = Subject("half", HalfDeaf(), inputs, torch.full((12,), 2))
    measurement, _ = measured(check, "xattr:constant", replace(subject, targets=0 * subject.targets), run)
    assert measurement.samples.tolist() == [0] * 12
    assert measurement.finding == (
        "the attribution is the same in all regions for 12 of 12 inputs, counted as 0"
    )


@both
def test_too_few_regions(check: str, run: Run) -> None:
    subject = replace(images(), regions=(torch.arange(144) % 3).reshape(12, 12))
    verdict = judge(check, "xattr:gradient", subject, run)
    assert str(verdict) == f"{check}: needs at least 4 regions, this subject has 3"


def test_regions_are_few() -> None:
    own = replace(images(), regions=torch.arange(144).reshape(12, 12) // 6)
    assert _variance.regions_of(own).count == 24
    many = replace(images(), regions=torch.arange(144).reshape(12, 12))
    assert _variance.regions_of(many).count == 16
    wide = Subject("wide", nn.Linear(70, 2), torch.randn(3, 70), torch.zeros(3, dtype=torch.int64))
    assert _variance.regions_of(wide).count == 16


class Mixing(nn.Module):
    """A sum of 14 columns, in which a batch gives some of each 16th row to all before it but one."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(14, 2, bias=False)
        nn.init.ones_(self.linear.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.linear(inputs)
        if len(logits) % 16:
            return logits
        first, others, last = logits.unflatten(0, (-1, 16)).split([1, 14, 1], dim=1)
        return torch.cat([first, others + 0.4 * last, last], dim=1).flatten(0, 1)


def test_outputs_that_depend_on_more_than_the_gains(run: Run) -> None:
    """On the rows of the design, what lies between A and B knows something of B."""
    # Of mean 0 in each row and column, as the outputs are then.
    inputs = 1.0 - 2 * ((torch.arange(32)[:, None] + torch.arange(14)) % 2)
    subject = Subject("mixing", Mixing(), inputs, torch.zeros(32, dtype=torch.int64))
    verdict = judge("sobol_pir", "xattr:gradient", subject, run)
    assert verdict.status == "invalid"
    told, share, rest = re.split(r"(\d+)%", str(verdict))
    assert told == "sobol_pir: S₁ exceeds S_T, beyond its interval, in "
    assert int(share) > 20
    assert rest == (
        " of the regions that matter: the output is no function of their gains alone; "
        "the check says nothing about 'mixing'"
    )


class Scrambled(nn.Module):
    """As good as noise: the slightest change of an input gives another output."""

    def forward(self, inputs: Tensor) -> Tensor:
        chaos = (1e6 * (inputs.double().flatten(1) + 3).prod(1)).sin()
        return torch.stack([chaos, -chaos], dim=1).float()


@both
def test_a_ranking_that_is_noise_is_no_reference(check: str, run: Run) -> None:
    subject = Subject("chaos", Scrambled(), torch.randn(32, 8), torch.zeros(32, dtype=torch.int64))
    verdict = judge(check, "xattr:gradient", subject, run)
    name = "S_T" if check == "sobol_pir" else "μ*"
    assert verdict.status == "invalid"
    assert str(verdict).startswith(
        f"{check}: {name} ranks the regions otherwise in each half of its samples: their rank correlation is "
    )
    assert str(verdict).endswith(", and should be 0.5 or more; the check says nothing about 'chaos'")


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("regions", [4, 16, 32])
def test_a_sum_is_not_invalid(regions: int, seed: int) -> None:
    """Its S₁ and S_T are the same, and only chance puts one above the other."""
    design = saltelli(regions, SAMPLES, seed)
    weights = torch.randn(32, regions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    resamples = bootstrap(SAMPLES, 400, torch.Generator().manual_seed(seed))
    for few in (1, 4, 32):
        assert untrusted(weights[:few] @ design.T, regions, resamples) == ""


def swapped(model: nn.Module, inputs: Tensor, targets: Tensor, index: str = "total") -> Tensor:
    """First-order and total indices under each other's names."""
    return sobol_sbsa(model, inputs, targets, index="first" if index == "total" else "total")


@pytest.mark.parametrize("seed", seeds())
def test_indices_of_a_decomposition(seed: int, tmp_path: Path) -> None:
    run = Run(store=Store(tmp_path), seed=seed, budget="standard")
    subject = xattr_check.subjects()["analytic"]()
    right = judge("variance_decomposition", "xattr:sobol_sbsa", subject, run)
    assert (right.status, right.required) == ("pass", True), str(right)
    wrong = judge(
        "variance_decomposition", xattr_check.claims("variance_decomposition")(swapped), subject, run
    )
    assert wrong.failed, str(wrong)
    assert "first-order indices add up to 1." in str(wrong)
    shuffled = judge("variance_decomposition", broken("shuffled_indices"), subject, run)
    assert shuffled.failed, str(shuffled)
    assert "more where the total ones are lowest" in str(shuffled)


def test_places_of_indices_by_a_loop(run: Run) -> None:
    subject = xattr_check.subjects()["analytic"]()
    draw = next(run.draws("variance_decomposition", subject, 32))
    explainer = Explainer.of(load_method(broken("shuffled_indices")), subject, run)
    found = CHECKS["variance_decomposition"].measure(explainer, subject, draw)
    first, total = found.evidence["first"].numpy(), found.evidence["total"].numpy()
    for value, one, all_ in zip(found.samples, first, total, strict=True):
        lowest = sorted(range(len(one)), key=lambda region: all_[region])[: len(one) // 2]
        gaps = [-one.sum(), one.sum() - all_.sum(), sum(one[k] - all_[k] for k in lowest)]
        assert float(value) == pytest.approx(max(gaps) / all_.sum())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_indices_on_the_digits(seed: int, tmp_path: Path) -> None:
    run = Run(store=Store(tmp_path), seed=seed, budget="standard")
    subject = xattr_check.load_subject("digits")
    assert judge("variance_decomposition", "xattr:sobol_sbsa", subject, run).status == "pass"
    assert judge("variance_decomposition", broken("shuffled_indices"), subject, run).failed


def half_a_cell_off(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Indices of the regions beside those that they are shown at."""
    return sobol_sbsa(model, inputs, targets, cells=4, samples=32).roll((4, 4), (2, 3))


@pytest.mark.slow
def test_regions_that_lie_half_a_cell_off_on_the_digits(run: Run) -> None:
    subject = xattr_check.load_subject("digits")
    assert judge("sobol_pir", "xattr:sobol_sbsa?cells=4&samples=32", subject, run).status == "pass"
    assert judge("sobol_pir", half_a_cell_off, subject, run).failed


@pytest.mark.parametrize("seed", seeds())
def test_a_sum_is_decomposed_on_the_edge(seed: int, run: Run) -> None:
    """Both indices are the same, and no sampling error takes them beyond the gate."""
    run.seed = seed
    subject = centred(columns(count=256))
    verdict = judge("variance_decomposition", "xattr:sobol_sbsa", subject, run)
    assert verdict.status == "pass", str(verdict)
    assert verdict.interval is not None
    assert abs(verdict.interval.value) < 0.15
    assert judge("variance_decomposition", broken("shuffled_indices"), subject, run).failed


def test_other_methods_are_not_asked_for_indices(run: Run) -> None:
    verdict = judge("variance_decomposition", "xattr:gradient", columns(), run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == (
        "variance_decomposition: the method has no parameter `index` that is 'first' or 'total'"
    )


def test_indices_that_a_parameter_rules_out_are_not_asked_for(run: Run) -> None:
    verdict = judge("variance_decomposition", "xattr:sbsa?sensitivity=lime&samples=64", columns(), run)
    assert verdict.status == "not_applicable"
    assert "expected index 'coefficient' of sensitivity 'lime', came 'first'" in str(verdict)


def test_a_method_that_claims_them_declines_those_of_groups(run: Run) -> None:
    """The user has asked for no index."""
    verdict = judge("variance_decomposition", "xattr:sobol_sbsa?decide=top:2&samples=8", columns(), run)
    assert verdict.status == "not_applicable", str(verdict)
    assert "expected index 'total' of sensitivity 'sobol' beside decide" in str(verdict)
