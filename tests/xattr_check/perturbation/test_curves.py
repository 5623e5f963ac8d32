"""The best of all curves between their ends: at a bound, but where features have no effect."""

import torch

from xattr_check.core.outputs import Classes, Value
from xattr_check.perturbation.curves import LEAST_EFFECT, between

# Falls, stays where it is, falls by hardly anything, and rises.
CURVES = torch.tensor(
    [[0.9, 0.5, 0.4, 0.1], [0.9, 0.3, 0.9, 0.9], [0.9, 0.95, 0.9, 0.85], [0.2, 0.5, 0.6, 0.7]]
)


def test_the_bound_stands_between_ends_where_all_features_have_an_effect() -> None:
    unmoved = Classes().unmoved(CURVES[:, 0], CURVES[:, -1], LEAST_EFFECT)
    assert unmoved.tolist() == [False, True, True, True]
    found = between(CURVES, 0.0, unmoved)
    assert torch.equal(found[:, [0, -1]], CURVES[:, [0, -1]])
    assert torch.equal(found[:, 1:-1], torch.tensor([[0.0], [0.3], [0.85], [0.2]]).expand(-1, 2))
    found = between(CURVES, 1.0, unmoved)
    assert torch.equal(found[:, 1:-1], torch.tensor([[1.0], [0.9], [0.95], [0.7]]).expand(-1, 2))


def test_a_value_that_is_the_same_may_be_that_of_what_raises_and_what_lowers_it() -> None:
    value = Value.of(torch.randn(20, 1))
    unmoved = value.unmoved(CURVES[:, 0], CURVES[:, -1], LEAST_EFFECT)
    assert torch.equal(between(CURVES, 0.0, unmoved)[:, 1:-1], torch.zeros(4, 2))
