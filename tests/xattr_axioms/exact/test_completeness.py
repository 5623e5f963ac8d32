"""Completeness against its definition, on networks for which it holds exactly and on others."""

from collections.abc import Callable

import pytest
import torch
from judging import judge
from subjects import images
from torch import Tensor, nn

import xattr_check
from xattr_check import Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw, Run
from xattr_methods import integrated_gradients

COMPLETENESS = xattr_check.checks()["completeness"]


@pytest.fixture(scope="module")
def analytic() -> Subject:
    return xattr_check.subjects()["analytic"]()


def scaled(factor: float) -> Callable[..., Tensor]:
    @xattr_check.claims("completeness")
    def method(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return factor * integrated_gradients(model, inputs, targets)

    return method


def test_integrated_gradients_of_products_are_complete_up_to_rounding(analytic: Subject, run: Run) -> None:
    verdict = judge("completeness", "xattr:integrated_gradients", analytic, run)
    assert (verdict.status, verdict.required) == ("pass", True)
    assert verdict.interval is not None
    assert verdict.interval.high < 1e-5


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient", "integrated_gradients"])
def test_gap_by_a_loop_over_pairs(method: str, run: Run) -> None:
    subject = images(count=13)
    found = load_method(f"xattr:{method}")
    draw = next(run.draws("completeness", subject, 16))
    samples = COMPLETENESS.measure(Explainer.of(found, subject, run), subject, draw).samples
    pairs = []
    for first in range(0, 12, 2):
        target = draw.targets[first]
        total, change = [], []
        for row in (draw.inputs[first : first + 1], draw.inputs[first + 1 : first + 2]):
            total.append(float(found(subject.model, row, target[None]).double().sum()))
            change.append(float(subject.model(row)[0, target].detach()))
        pairs.append((total[0] - total[1], change[0] - change[1]))
    typical = sum(abs(real) for _, real in pairs) / len(pairs)
    expected = [
        abs(attributed - real) / max(abs(attributed) + abs(real), typical) for attributed, real in pairs
    ]
    # Two forward passes of another batch size, in float32, and a difference between them.
    assert samples.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients"])
def test_pairs_say_what_the_zero_baseline_says(method: str, run: Run) -> None:
    """With r = Σa − f(x) + f(0), the definition, the pair's gap is |r(x) − r(y)|: the baseline cancels."""
    subject = images(count=12)
    found = load_method(f"xattr:{method}")
    draw = next(run.draws("completeness", subject, 16))
    evidence = COMPLETENESS.measure(Explainer.of(found, subject, run), subject, draw).evidence
    targets = draw.targets[::2].repeat_interleave(2)
    with torch.no_grad():
        at_zero = subject.model(torch.zeros_like(draw.inputs)).gather(1, targets[:, None])[:, 0]
        outputs = subject.model(draw.inputs).gather(1, targets[:, None])[:, 0]
    remainder = found(subject.model, draw.inputs, targets).flatten(1).sum(1) - outputs + at_zero
    expected = remainder[::2] - remainder[1::2]
    torch.testing.assert_close(
        evidence["attributed"] - evidence["output"], expected.double(), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("factor", "status"), [(1.0, "pass"), (1.05, "pass"), (1.1, "fail"), (0.9, "fail"), (-1.0, "fail")]
)
def test_a_wrong_factor_fails_from_a_tenth_on(
    factor: float, status: str, analytic: Subject, run: Run
) -> None:
    verdict = judge("completeness", scaled(factor), analytic, run)
    assert verdict.status == status
    assert verdict.interval is not None
    # Of a pair whose outputs differ much; the others count less. Where signs differ it is 1.
    largest = abs(factor - 1) / (factor + 1) if factor > 0 else 1.0
    assert 0.7 * largest <= verdict.interval.value <= largest + 1e-5


def test_outputs_that_nearly_agree_are_not_divided_by(run: Run) -> None:
    """An error of 0.01 in each sum, in pairs that differ by 10 and by nothing."""
    model = nn.Linear(1, 2, bias=False)
    nn.init.ones_(model.weight)
    inputs = torch.tensor([[10.0], [0.0], [5.0], [5.0]])
    subject = Subject("pairs", model, inputs, torch.zeros(4, dtype=torch.int64))

    def quadrature(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs + 0.01 * torch.tensor([1.0, -1.0] * 2)[:, None]

    draw = Draw(run, subject, torch.arange(4), seed=0)
    samples = COMPLETENESS.measure(Explainer.of(load_method(quadrature), subject, run), subject, draw).samples
    assert samples.tolist() == pytest.approx([0.02 / 20.02, 0.02 / 5], rel=1e-4)


def test_an_offset_that_all_inputs_share_is_a_baseline(analytic: Subject, run: Run) -> None:
    """The method's baseline is its own affair, as long as there is one."""

    @xattr_check.claims("completeness")
    def other_baseline(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return integrated_gradients(model, inputs, targets, baseline=torch.ones(inputs.shape[1]) / 2)

    assert judge("completeness", other_baseline, analytic, run).status == "pass"


def test_a_failure_names_the_worst_pair(analytic: Subject, run: Run) -> None:
    sentence = str(judge("completeness", scaled(2.0), analytic, run))
    assert (
        "mean relative gap between differences of attribution sums and of outputs (gate ≤ 0.03)" in sentence
    )
    assert "; worst for input " in sentence


def test_who_does_not_claim_it_is_only_told(analytic: Subject, run: Run) -> None:
    verdict = judge("completeness", "xattr:gradient", analytic, run)
    assert (verdict.status, verdict.required, verdict.failed) == ("fail", False, False)
