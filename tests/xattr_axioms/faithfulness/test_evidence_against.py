"""Evidence against by hand, on a linear model where its worth is known, and where there is none."""

import pytest
import torch
from judging import judge, measured
from subjects import columns
from torch import Tensor, nn

from xattr_check.core.run import Run
from xattr_check.core.subject import Subject
from xattr_methods import occlusion


def on_columns(subject: Subject) -> tuple[Tensor, Tensor]:
    """(n, 6) what each column of a linear model adds to the target above its mean, and the inputs."""
    weights = subject.model.weight[subject.targets]  # type: ignore[index]
    return (weights * (subject.inputs - subject.inputs.mean(0))).detach(), subject.inputs


def right(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return occlusion(model, inputs, targets, baseline=columns(64).inputs.mean(0).expand_as(inputs))


def spoilt(factor: float) -> object:
    """What has its evidence against times a factor."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = right(model, inputs, targets)
        return torch.where(maps < 0, factor * maps, maps)

    return explain


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (0.5, 1.0), (4.0, 0.25)])
def test_its_worth_on_a_linear_model(factor: float, expected: float, run: Run) -> None:
    found, _ = measured("evidence_against", spoilt(factor), columns(64), run)
    torch.testing.assert_close(found.samples, torch.full_like(found.samples, expected), rtol=1e-4, atol=1e-4)


def test_by_hand(run: Run) -> None:
    """A map that is the inputs themselves, column by column."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs.clone()

    subject = columns(64)
    found, draw = measured("evidence_against", explain, subject, run)
    change, inputs = (one[draw.indices].double() for one in on_columns(subject))
    expected = []
    for amounts, falls in zip(inputs.tolist(), change.tolist(), strict=True):
        if -sum(a for a in amounts if a < 0) <= 0.05 * sum(map(abs, amounts)):
            continue
        pairs = list(zip(amounts, falls, strict=True))
        against, of_target = (
            sum(a * d for a, d in pairs if sign * a > 0)
            / max(1e-300, sum(a * a for a in amounts if sign * a > 0))
            for sign in (-1, 1)
        )
        expected.append(against / max(abs(against), abs(of_target)))
    assert found.samples.tolist() == pytest.approx(expected, abs=1e-4)


def test_the_wrong_sign_is_below_zero(run: Run) -> None:
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return -right(model, inputs, targets)

    found, _ = measured("evidence_against", explain, columns(64), run)
    assert found.samples.tolist() == pytest.approx([-1.0] * len(found.samples), abs=1e-4)


def test_maps_without_any(run: Run) -> None:
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return right(model, inputs, targets).abs()

    verdict = judge("evidence_against", explain, columns(64), run)
    assert verdict.status == "not_applicable"
    assert "hardly anywhere negative, and tell no evidence against the target" in verdict.sentence
    verdict = judge("evidence_against", "xattr:gradient", columns(64), run)
    assert "the sign of the method is a direction" in verdict.sentence


def test_it_is_reported(run: Run) -> None:
    verdict = judge("evidence_against", spoilt(4.0), columns(64), run)
    assert verdict.status == "pass"
