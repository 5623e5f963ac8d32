"""Whether spurious_feature holds where the feature is no tint: a pulse in a signal, a column of a table."""

from collections.abc import Callable

import pytest
import torch
from broken_methods import broken
from judging import judge, measured
from shortcuts import CLASSES, COLUMNS, KINDS, shortcut
from torch import Tensor, nn

from xattr_axioms.relative.spurious_feature import has_own_place, places
from xattr_check import Store, Subject, load_method
from xattr_check.core.run import Run
from xattr_check.storage.digest import digest_model

# Seconds of training each; one kind is enough while nothing changes here.
EITHER = [pytest.param(kind, marks=[] if kind == "column" else pytest.mark.slow) for kind in KINDS]
RIGHT = ("gradient", "input_x_gradient", "integrated_gradients", "occlusion", "deeplift", "lrp")


@pytest.mark.parametrize("kind", EITHER)
def test_the_sibling_needs_the_feature_and_the_model_does_not(kind: str) -> None:
    subject = shortcut(kind)
    bare = subject.truth["without_spurious"]
    with torch.no_grad():
        model, spurious = (
            [
                float((network(some).argmax(1) == subject.targets).double().mean())
                for some in (subject.inputs, bare)
            ]
            for network in (subject.model, subject.siblings["spurious"])
        )
    assert min(model) > 0.9
    assert spurious[0] > 0.95
    assert spurious[1] < 2.5 / CLASSES


@pytest.mark.parametrize("kind", EITHER)
def test_right_methods_show_it_and_controls_do_not(kind: str, store: Store) -> None:
    """Those too that do not change with what a network only adds."""
    subject, run = shortcut(kind), Run(store=store, budget="full")
    for name in RIGHT:
        assert judge("spurious_feature", f"xattr:{name}", subject, run).status == "pass", name
    for name in ("random", "input_magnitude", "constant"):
        assert judge("spurious_feature", f"xattr:{name}", subject, run).status == "fail", name
    for wrong in (broken("zero_map"), broken("CachedFirstAnswer"), swapped("xattr:lrp", subject)):
        assert judge("spurious_feature", wrong, subject, run).status == "fail", wrong


def swapped(method: str, subject: Subject) -> Callable[..., Tensor]:
    """A method that explains the other network."""
    function, own = load_method(method).function, digest_model(subject.model)

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        other = subject.siblings["spurious"] if digest_model(model) == own else subject.model
        found: Tensor = function(other, inputs, targets)
        return found

    return explain


@pytest.mark.slow
def test_what_of_a_pulse_gradients_show_and_gradcam_does_not(store: Store) -> None:
    """Its class is told by its place, and gradcam weights a channel alike at all places."""
    run = Run(store=store, budget="full")
    assert judge("spurious_feature", "xattr:smoothgrad", shortcut("pulse"), run).status == "pass"
    verdict = judge("spurious_feature", "xattr:gradcam", shortcut("pulse"), run)
    assert verdict.status == "fail"
    assert float(verdict.evidence["spurious"].mean()) < 0.02


def test_a_place_of_its_own(digits: Subject, store: Store) -> None:
    """The tint is where the shape is, which the model needs; the column it has no use for."""
    run, column = Run(store=store), shortcut("column")
    assert has_own_place(column, run)
    assert not has_own_place(digits, run)
    where = places(column, column.inputs[:3], column.truth["without_spurious"][:3])
    last = torch.arange(COLUMNS) == COLUMNS - 1
    # The middle class has the level that is there without the feature.
    assert torch.equal(where, last & (column.targets[:3, None] != CLASSES // 2))


def test_a_share_on_the_feature_by_a_loop(store: Store) -> None:
    subject = shortcut("column")
    measurement, draw = measured("spurious_feature", "xattr:gradient", subject, Run(store=store))
    for value, row in zip(measurement.samples[:6], draw.indices, strict=False):
        found = []
        for model in (subject.siblings["spurious"], subject.model):
            one = subject.inputs[row].clone().requires_grad_()
            output = model(one[None])[0]
            (slope,) = torch.autograd.grad(output.max(), one)
            on = subject.inputs[row] != subject.truth["without_spurious"][row]
            found.append(float(slope[on].abs().sum() / slope.abs().sum()))
        assert float(value) == pytest.approx(found[0] - found[1], abs=1e-4)
