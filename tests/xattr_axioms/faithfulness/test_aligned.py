"""Whether scores are where their features are, against loops over features, and what it is for."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
from broken_anywhere import BROKEN
from judging import judge, measured
from planted import planted
from subjects import columns, images, sharp, tokens
from torch import Tensor, nn

from xattr_axioms.faithfulness.aligned import FEWEST, STEPS, fits_of, shifts_of
from xattr_check import Subject, load_method, load_subject
from xattr_check.core import AtMost
from xattr_check.core.method import Method
from xattr_check.core.run import Draw, Run
from xattr_check.perturbation.fills import fixed

FINE = ("integrated_gradients", "input_x_gradient", "gradient", "lrp")
COARSE = ("occlusion", "gradcam")


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Method:
    """A right method whose maps are changed."""
    right = load_method(f"xattr:{name}")

    @wraps(right.function)
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor, **given: Any) -> Tensor:
        return change(right.function(model, inputs, targets, **given))

    return replace(right, function=explain, claims=frozenset())


def slow_references(subject: Subject, draw: Draw, index: int) -> list[np.ndarray]:
    """The path integral, its magnitude, and the magnitude of the gradient, over the channels."""
    row, start = draw.inputs[index], fixed("mean", subject, draw)[index]
    axis = subject.layout.channels

    def slope(point: Tensor) -> Tensor:
        point = point.clone().requires_grad_()
        (found,) = torch.autograd.grad(subject.model(point[None])[0, draw.targets[index]], point)
        return found.double()

    on_the_line = [start + (step + 0.5) / STEPS * (row - start) for step in range(STEPS)]
    path = sum(map(slope, on_the_line), torch.zeros(())) / STEPS * (row - start)
    steepness = slope(row).abs()
    assert axis is not None
    return [path.sum(axis).numpy(), path.sum(axis).abs().numpy(), steepness.sum(axis).numpy()]


def slow_fit(
    one: np.ndarray, other: np.ndarray, valid: np.ndarray, shift: tuple[int, ...]
) -> tuple[float, ...]:
    """Correlations, feature by feature: shifted, as it is, shifted twice as far, and of the other's own."""
    far = all(5 * abs(by) <= side for by, side in zip(shift, other.shape, strict=True))
    rows = []
    for place in np.ndindex(*other.shape):
        steps = [
            tuple(at + step * by for at, by in zip(place, shift, strict=True))
            for step in range(3 if far else 2)
        ]
        if all(0 <= at < side for step in steps for at, side in zip(step, other.shape, strict=True)) and all(
            valid[step] for step in steps
        ):
            rows.append((other[place], one[steps[1]], one[place], one[steps[-1]], other[steps[1]]))
    rest, *found = np.array(rows).T
    moved, still, beyond, own = (float(np.corrcoef(rest, each)[0, 1]) for each in found)
    return moved, still, beyond if far else -1.0, own


def slow_rows(subject: Subject, draw: Draw, method: str) -> list[float]:
    maps = load_method(method)(subject.model, draw.inputs, draw.targets).double()
    maps = maps.sum(subject.layout.channels)
    shifts, count = shifts_of(subject.spatial), len(maps)
    fits = np.array(
        [
            [
                [slow_fit(maps[row].numpy(), one, np.ones(one.shape, bool), shift) for shift in shifts]
                for one in slow_references(subject, draw, row)
            ]
            for row in range(count)
        ]
    )
    rows = [0.0] * count
    for half in (0, 1):
        mean = fits[1 - half :: 2].mean(0)
        alike = np.where(mean[..., 3] < 0.95, mean[..., :2].max(2), -np.inf).max(1)
        reference = int(alike.argmax())
        gains = mean[reference, :, 0] - mean[reference, :, 1:3].max(1)
        shift = int(np.where(mean[reference, :, 3] < 0.95, gains, -np.inf).argmax())
        other = 1 + int(mean[reference, shift, 1:3].argmax())
        for row in range(half, count, 2):
            gain = fits[row, reference, shift, 0] - fits[row, reference, shift, other]
            rows[row] = gain / (alike[reference] * (1 - mean[reference, shift, 3]))
    return rows


@pytest.mark.parametrize("make", [images, tokens])
def test_rows_by_loops(make: Callable[[], Subject], run: Run) -> None:
    subject, method = sharp(make()), "xattr:input_x_gradient"
    found, draw = measured("aligned", method, subject, run)
    assert found.samples.tolist() == pytest.approx(slow_rows(subject, draw, method), abs=1e-4)


def test_padding_is_left_out_by_a_loop(run: Run) -> None:
    subject = load_subject("reviews")
    draw = next(run.draws("aligned", subject, 8))
    maps, reference = (torch.randn(8, *subject.spatial).double() for _ in range(2))
    found = fits_of(maps, reference, draw, [(1,), (-2,)])
    assert draw.valid is not None
    assert not draw.valid.all()
    for number, shift in enumerate([(1,), (-2,)]):
        for row in range(8):
            expected = slow_fit(maps[row].numpy(), reference[row].numpy(), draw.valid[row].numpy(), shift)
            assert found[number, :, row].tolist() == pytest.approx(expected)


def test_shifts_by_hand() -> None:
    assert shifts_of((8,)) == [(-1,), (1,), (-2,), (2,)]
    assert shifts_of((3,)) == [(-1,), (1,)]
    assert shifts_of((1, 2)) == [(0, -1), (0, 1)]
    assert shifts_of((1,)) == []
    assert {(1, -1), (0, 2)} < set(shifts_of((8, 8)))
    assert (2, 1) not in shifts_of((8, 8))
    assert [len(shifts_of(spatial)) for spatial in ((8, 8), (8, 8, 8))] == [8 + 4, 26 + 6]


@pytest.mark.parametrize("kind", ["signal", "embeddings", pytest.param("volume", marks=pytest.mark.slow)])
def test_what_is_displaced_fails_and_what_is_coarse_does_not(kind: str, run: Run) -> None:
    subject = planted(kind, "classes")
    for name in FINE:
        assert judge("aligned", f"xattr:{name}", subject, run).status == "pass", name
    for name in COARSE:
        assert judge("aligned", f"xattr:{name}", subject, run).status != "fail", name
    for by in (1, -2):
        for axis in subject.layout.ranked:
            spoilt = changed(FINE[by], lambda maps, by=by, axis=axis: maps.roll(by, axis))  # type: ignore[misc]
            assert judge("aligned", spoilt, subject, run).status == "fail", (by, axis)


@pytest.mark.parametrize("name", ["beats", "beats4", "reviews", "regression"])
def test_an_index_that_is_off_by_one(name: str, run: Run) -> None:
    subject = load_subject(name)
    assert judge("aligned", "xattr:integrated_gradients", subject, run).status == "pass"
    verdict = judge("aligned", BROKEN["displaced"].on("displaced", subject), subject, run)
    assert verdict.status == "fail", str(verdict)


def test_maps_that_were_cut_and_padded(run: Run) -> None:
    subject = load_subject("regression")

    def cut(maps: Tensor) -> Tensor:
        return nn.functional.pad(maps[..., 1:], (0, 1))

    verdict = judge("aligned", changed("gradient", cut), subject, run)
    assert verdict.status == "fail"
    assert verdict.sentence.endswith("scores lie (0, -1) features from where they belong")


def test_where_it_says_nothing(run: Run) -> None:
    def told(subject: Subject, method: Any = "xattr:integrated_gradients") -> tuple[str, str]:
        verdict = judge("aligned", method, subject, run)
        return verdict.status, verdict.sentence

    order = "the features of 'columns' have no order, and so nothing to be moved along"
    assert told(columns()) == ("not_applicable", order)
    few = f"needs at least {FEWEST} inputs, this subject has 6"
    assert told(images(6)) == ("not_applicable", few)
    one = replace(tokens(), model=nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), inputs=torch.randn(12, 1, 4))
    assert told(one) == ("not_applicable", "the features of 'tokens' are too few to be moved: (1,)")
    same = images(16)
    same = replace(
        same, inputs=same.inputs[:1].expand(16, -1, -1, -1).clone(), targets=same.targets[:1].expand(16)
    )
    alone = "the inputs are all the same, and so one input and no sample of them"
    assert told(same, "xattr:guided_backprop") == ("not_applicable", alone)
    status, sentence = told(load_subject("beats"), "xattr:random")
    assert status == "not_applicable"
    assert sentence.startswith("the maps have too little in common with the model's gradients to say where")


class Smooth(nn.Module):
    """What each time adds changes little from one to the next: (N, 1, T) to (N, 2)."""

    def forward(self, inputs: Tensor) -> Tensor:
        weight = torch.linspace(0, 3, inputs.shape[2]).sin()
        total = (inputs[:, 0] * weight).sum(1)
        return torch.stack([total, -total], 1)


def test_a_reference_that_a_shift_does_not_change(run: Run) -> None:
    inputs = torch.ones(12, 1, 60) * torch.linspace(0.5, 1, 12)[:, None, None]
    subject = Subject("smooth", Smooth(), inputs, torch.zeros(12).long(), layout="signal")
    verdict = judge("aligned", "xattr:gradient", subject, run)
    assert verdict.status == "invalid"
    assert verdict.sentence == (
        "a shift by 2 features changes too little of what the model does to be seen; "
        "the check says nothing about 'smooth'"
    )


def test_the_last_few_inputs_are_left_out(run: Run) -> None:
    whole = planted("signal", "classes")
    subject = Subject("few", whole.model, whole.inputs[:36], whole.targets[:36], layout="signal")
    assert [len(draw.inputs) for draw in run.draws("aligned", subject, 32)] == [32, 4]
    verdict = judge("aligned", "xattr:gradient", subject, run, gate=AtMost(-1.0))
    assert (verdict.status, verdict.n) == ("undecided", 32)
