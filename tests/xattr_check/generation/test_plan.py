from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import torch
from features import ChannelMeans, toy
from subjects import images

from xattr_check import UsageError
from xattr_check.generation.geometry import geometry_of
from xattr_check.generation.plan import Plan, default_gap, default_side
from xattr_check.generation.scenarios import scenario


@pytest.mark.parametrize(
    ("size", "side", "gap"),
    [((32, 32), 14, 3), ((224, 224), 98, 21), ((12, 12), 5, 1), ((16, 24), 7, 1), ((8, 8), 4, 0)],
)
def test_defaults(size: tuple[int, int], side: int, gap: int) -> None:
    assert default_side(size) == side
    assert default_gap(size) == gap
    subject = toy(size=size)
    made = Plan.of(subject, scenario("null"))
    assert (made.side, made.gap, made.reference) == (side, gap, "subject")
    assert Plan.of(subject, scenario("saturation")).gap == 0
    without = replace(subject, reference=None)
    assert Plan.of(without, scenario("null")).reference == "noise"
    assert (made.prior, made.fixed, made.noise) == ("pixels", True, 0.1)
    assert made == Plan(scenario("null"), side, gap, "subject")


def test_the_prior_is_that_of_the_paper_where_the_objective_is() -> None:
    subject, kind = toy(), scenario("null")
    assert Plan.of(subject, kind, objective="dynamic").prior == "decoder"
    for objective in ("dynamic", "constrained"):
        for prior in ("pixels", "decoder"):
            assert Plan.of(subject, kind, objective=objective, prior=prior).prior == prior
    assert not Plan.of(subject, kind, fixed=False).fixed


@pytest.mark.parametrize("size", [(12, 12), (16, 24), (32, 32), (48, 30), (224, 224)])
def test_features_fit_by_default(size: tuple[int, int]) -> None:
    subject = toy(ChannelMeans(), 4, size)
    for name, features in product(("null", "double", "saturation"), (2, 3, 4)):
        made = Plan.of(subject, scenario(name, features))
        assert made.place(3, geometry_of(subject), torch.Generator()).shape == (3, features, 2), (
            name,
            features,
        )


def test_mistakes() -> None:
    kind, subject = scenario("null"), toy()
    mistakes: dict[str, Callable[[], object]] = {
        "reference 'zero': expected one of subject, noise, inputs": (
            lambda: Plan.of(subject, kind, reference="zero")
        ),
        "subject 'images': has no reference of its own; choose noise or inputs": (
            lambda: Plan.of(images(), kind, reference="subject")
        ),
        "objective 'best': expected one of constrained, dynamic": (
            lambda: Plan.of(subject, kind, objective="best")
        ),
        "prior 'network': expected one of pixels, decoder, words": lambda: Plan.of(
            subject, kind, prior="network"
        ),
        "patch=3: expected at least 4 pixels": lambda: Plan.of(subject, kind, side=3),
        "patch=13: expected at most 12 pixels, the smaller side of 12×12 inputs": (
            lambda: Plan.of(subject, kind, side=13)
        ),
        "patch=6: 2 patches cannot be kept apart with 1 pixels between them in 12×12 inputs; "
        "choose a smaller patch": lambda: Plan.of(subject, kind, side=6),
    }
    for message, make in mistakes.items():
        with pytest.raises(UsageError) as raised:
            make()
        assert str(raised.value) == message
