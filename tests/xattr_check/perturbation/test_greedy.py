"""The best order of features: against all orders of a few, and as the measure of a gate."""

import itertools
from pathlib import Path

import pytest
import torch
from judging import judge
from torch import Tensor, nn

from xattr_check import Store, Subject
from xattr_check.core.run import Draw, Run
from xattr_check.perturbation.curves import area
from xattr_check.perturbation.greedy import MOST, Done, Seeks, greedy_curve

COLUMNS = 4


class Additive(nn.Module):
    """Logits that columns add to, for which the greedy order is the best there is."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        total = inputs @ self.weights - 1
        return torch.stack([-total / 2, total / 2], 1)


def table(columns: int, count: int = 12, spread: float = 1.0) -> Subject:
    generator = torch.Generator().manual_seed(0)
    model = Additive(1 + spread * torch.rand(columns, generator=generator))
    inputs = torch.rand(count, columns, generator=generator) * 2
    return Subject("table", model, inputs, torch.ones(count, dtype=torch.int64))


@pytest.mark.parametrize("done", ["removed", "shown"])
def test_it_is_the_best_of_all_orders(done: Done, tmp_path: Path) -> None:
    subject, run = table(COLUMNS), Run(store=Store(tmp_path))
    draw = next(run.draws("deletion", subject, 12))
    places = [number / COLUMNS for number in range(COLUMNS + 1)]
    seeks: Seeks = "least" if done == "removed" else "largest"
    best_curve = greedy_curve(subject, draw, places, done, seeks, fill="zero", by="pixels")
    assert best_curve is not None
    found = area(best_curve, places)
    areas = []
    for order in itertools.permutations(range(COLUMNS)):
        curve = []
        for number in range(COLUMNS + 1):
            kept = list(order[number:] if done == "removed" else order[:number])
            shown = torch.zeros_like(draw.inputs)
            shown[:, kept] = draw.inputs[:, kept]
            with torch.no_grad():
                curve.append(subject.model(shown).softmax(1)[:, 1].double())
        areas.append(area(torch.stack(curve, 1), places))
    best = torch.stack(areas).amin(0) if done == "removed" else torch.stack(areas).amax(0)
    torch.testing.assert_close(found, best, rtol=0, atol=1e-6)


def test_of_many_units_nothing_is_known(tmp_path: Path) -> None:
    subject, run = table(MOST + 1), Run(store=Store(tmp_path))
    draw: Draw = next(run.draws("deletion", subject, 4))
    assert greedy_curve(subject, draw, [0.0, 0.5, 1.0], "removed", "least", fill="mean", by="pixels") is None


def test_between_its_ends_no_curve_is_beyond_the_bound(tmp_path: Path) -> None:
    """Of many units as well, an area of 1 is out of reach: nothing is seen at the start of an insertion."""
    subject, run = table(MOST + 1, count=64), Run(store=Store(tmp_path))
    found = {
        check: judge(f"{check}?fill=zero", "xattr:input_x_gradient", subject, run)
        for check in ("deletion", "insertion")
    }
    empty, full = torch.zeros_like(subject.inputs), subject.inputs
    with torch.no_grad():
        ends = sum(float(subject.model(one).softmax(1)[:32, 1].double().mean()) for one in (empty, full)) / 2
    assert found["insertion"].best == pytest.approx(1 - (1 - ends) / 16, abs=0.03)
    assert found["deletion"].best == pytest.approx(ends / 16, abs=0.03)


@pytest.mark.parametrize("check", ["deletion?fill=zero", "insertion?fill=zero", "sensitivity_n?fill=zero"])
def test_a_control_that_is_as_good_as_the_truth_fails_nobody(check: str, tmp_path: Path) -> None:
    """Positive columns of nearly equal weights: their size is the best order there is."""
    subject = table(10, count=128, spread=0.01)
    verdict = judge(check, "xattr:input_x_gradient", subject, Run(store=Store(tmp_path)))
    assert verdict.status == "invalid", str(verdict)
    assert "no map is known to pass: the control 'input_magnitude' comes to" in verdict.sentence
