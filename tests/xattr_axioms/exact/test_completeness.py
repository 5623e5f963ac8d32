"""Completeness against its definition, on networks for which it holds exactly and on others."""

from collections.abc import Callable

import pytest
import torch
from judging import judge
from subjects import images
from torch import Tensor, nn

import xattr_check
from xattr_axioms.exact.completeness import TOLERANCE
from xattr_check import Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw, Run
from xattr_check.storage.digest import derive_seed
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
    assert float(verdict.evidence["gap"].max()) < 1e-5


@pytest.mark.parametrize(("factor", "told"), [(1.1, True), (2.0, False)])
def test_a_gap_as_of_too_few_steps_says_so(factor: float, told: bool, analytic: Subject, run: Run) -> None:
    verdict = judge("completeness", scaled(factor), analytic, run)
    assert verdict.status == "fail"
    assert ("which more steps may bring down" in str(verdict)) is told


def partners(subject: Subject, run: Run) -> list[int]:
    """Which input stands beside each, as a seed of the run shuffles them onto a circle."""
    generator = torch.Generator().manual_seed(derive_seed("completeness", run.seed))
    circle = torch.randperm(len(subject.inputs), generator=generator).tolist()
    after = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    return [after[row] for row in range(len(circle))]


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient", "integrated_gradients"])
def test_gap_by_a_loop_over_inputs(method: str, run: Run) -> None:
    subject = images(count=13)
    found = load_method(f"xattr:{method}")
    draw = next(run.draws("completeness", subject, 8))
    measured = COMPLETENESS.measure(Explainer.of(found, subject, run), subject, draw)
    beside = partners(subject, run)

    def change(row: int) -> tuple[float, float]:
        """Of the attributions' sum, and of the output, from the other input."""
        target, sums, outputs = subject.targets[row : row + 1], [], []
        for one in (subject.inputs[row : row + 1], subject.inputs[beside[row]][None]):
            sums.append(float(found(subject.model, one, target).double().sum()))
            outputs.append(float(subject.model(one)[0, target].detach()))
        return sums[0] - sums[1], outputs[0] - outputs[1]

    typical = sum(abs(change(row)[1]) for row in range(13)) / 13
    expected = []
    for row in draw.indices.tolist():
        attributed, real = change(row)
        expected.append(abs(attributed - real) / max(abs(attributed) + abs(real), typical))
    # Two forward passes of another batch size, in float32, and a difference between them.
    assert measured.evidence["gap"].tolist() == pytest.approx(expected, abs=1e-5)
    assert measured.samples.tolist() == [float(gap > TOLERANCE) for gap in expected]


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients"])
def test_pairs_say_what_the_zero_baseline_says(method: str, run: Run) -> None:
    """With r = Σa − f(x) + f(0), the definition, the pair's gap is |r(x) − r(y)|: the baseline cancels."""
    subject = images(count=12)
    found = load_method(f"xattr:{method}")
    draw = next(run.draws("completeness", subject, 8))
    evidence = COMPLETENESS.measure(Explainer.of(found, subject, run), subject, draw).evidence
    others = subject.inputs[torch.tensor(partners(subject, run))[draw.indices]]

    def remainder(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            outputs = subject.model(inputs) - subject.model(torch.zeros_like(inputs))
        sums = found(subject.model, inputs, draw.targets).flatten(1).sum(1)
        return sums - outputs.gather(1, draw.targets[:, None])[:, 0]

    expected = remainder(draw.inputs) - remainder(others)
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
    # Of a pair whose outputs differ much; the others count less. Where signs differ it is 1.
    largest = abs(factor - 1) / (factor + 1) if factor > 0 else 1.0
    assert 0.7 * largest <= float(verdict.evidence["gap"].mean()) <= largest + 1e-5


def test_outputs_that_nearly_agree_are_not_divided_by(run: Run) -> None:
    """Of four inputs on the circle outputs differ by 0, 10, 0 and 10; one sum has 0.01 that no output has."""
    model = nn.Linear(2, 2, bias=False)
    nn.init.ones_(model.weight)
    model.weight.data[:, 1] = 0
    beside = partners(Subject("four", model, torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)), run)
    inputs = torch.tensor([[5.0, 0.01]]).repeat(4, 1)
    inputs[beside[0]] = torch.tensor([5.0, 0.0])
    inputs[beside[beside[0]]] = inputs[beside[beside[beside[0]]]] = torch.tensor([15.0, 0.0])
    subject = Subject("circle", model, inputs, torch.zeros(4, dtype=torch.int64))
    explainer = Explainer.of(load_method(lambda model, inputs, targets: inputs.clone()), subject, run)
    evidence = COMPLETENESS.measure(
        explainer, subject, Draw(run, subject, torch.tensor([0]), seed=0)
    ).evidence
    assert (evidence["output"].item(), evidence["gap"].item()) == (0.0, pytest.approx(0.01 / 5, rel=1e-3))


def test_one_input_has_no_other_beside_it(run: Run) -> None:
    verdict = judge("completeness", "xattr:integrated_gradients", images(count=1), run)
    assert verdict.sentence == "needs at least 2 inputs, subject 'images' has 1"


def test_a_method_that_is_wrong_on_one_input_in_ten_does_not_pass(analytic: Subject, run: Run) -> None:
    """However small the mean of its gaps is: that of each pair might be as much."""

    @xattr_check.claims("completeness")
    def rarely_wrong(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = integrated_gradients(model, inputs, targets)
        wrong = analytic.locate(inputs) % 10 == 0
        return torch.where(wrong[:, None], 1.2 * maps, maps)

    verdict = judge("completeness", rarely_wrong, analytic, run)
    assert verdict.status in ("undecided", "fail")
    assert float(verdict.evidence["gap"].mean()) < TOLERANCE


def test_an_offset_that_all_inputs_share_is_a_baseline(analytic: Subject, run: Run) -> None:
    """The method's baseline is its own affair, as long as there is one."""

    @xattr_check.claims("completeness")
    def other_baseline(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return integrated_gradients(model, inputs, targets, baseline=torch.ones(inputs.shape[1]) / 2)

    assert judge("completeness", other_baseline, analytic, run).status == "pass"


def test_a_failure_names_the_worst_pair(analytic: Subject, run: Run) -> None:
    sentence = str(judge("completeness", scaled(2.0), analytic, run))
    assert (
        "of inputs, each beside another one, have attribution sums that are not the change in output "
        "(gate ≤ 0.1)" in sentence
    )
    assert "worst for input " in sentence


def test_who_does_not_claim_it_is_only_told(analytic: Subject, run: Run) -> None:
    verdict = judge("completeness", "xattr:gradient", analytic, run)
    assert (verdict.status, verdict.required, verdict.failed) == ("fail", False, False)
