"""Whether spurious_feature holds where the feature is no tint: a pulse in a signal, a column of a table."""

import pytest
import torch
from broken_methods import broken
from judging import judge
from shortcuts import CLASSES, KINDS, shortcut

from xattr_check import Store
from xattr_check.core.run import Run

# Seconds of training each; one kind is enough while nothing changes here.
EITHER = [pytest.param(kind, marks=[] if kind == "column" else pytest.mark.slow) for kind in KINDS]
CONTRIBUTIONS = ("input_x_gradient", "integrated_gradients", "occlusion", "deeplift", "lrp")


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
def test_contributions_show_it_and_controls_do_not(kind: str, store: Store) -> None:
    run = Run(store=store, budget="standard")
    for name in CONTRIBUTIONS:
        assert judge("spurious_feature", f"xattr:{name}", shortcut(kind), run).status == "pass", name
    for name in ("random", "input_magnitude", "constant"):
        assert judge("spurious_feature", f"xattr:{name}", shortcut(kind), run).status == "fail", name
    assert judge("spurious_feature", broken("zero_map"), shortcut(kind), run).status == "fail"


@pytest.mark.slow
def test_a_gradient_does_not_change_with_what_is_only_added(store: Store) -> None:
    run = Run(store=store, budget="standard")
    verdict = judge("spurious_feature", "xattr:gradient", shortcut("pulse"), run)
    assert verdict.status == "fail"
    assert float(verdict.evidence["spurious"].mean()) < float(verdict.evidence["model"].mean())
