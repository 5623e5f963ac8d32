"""Operators that mix a right map with what must not count, by sum and by product, in a dose."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xattr_check.core import registry
from xattr_check.core.method import Method
from xattr_check.mutation.operator import Call, Operator

Other = Callable[[Call], Tensor]
# Of the other part: half of a sum is seen in any map, and all of a product is what a mask does.
SUM, PRODUCT = 0.5, 1.0
OTHER_INPUT = "another_input"


def mixing() -> dict[str, Operator]:
    """By sum and by product with a map of another input, and with each negative control that is installed."""
    found = _both(OTHER_INPUT, "another input", Call.of_other_inputs, frozenset(), Call.of_other_inputs)
    for name, one in registry.controls().items():
        if one.control == "negative":
            found += _both(name, f"the control {name}", partial(_of_control, one), one.needs, one.function)
    return {one.name: one for one in found}


def _both(
    name: str, told: str, other: Other, needs: frozenset[str], source: Callable[..., Any]
) -> list[Operator]:
    """The two operators that mix with one other map; source: the function that it is from."""
    by_sum = Operator(
        name=f"{name}_by_sum",
        change=partial(mixed_by_sum, other),
        statement=f"The sum of the map and of that of {told}, each as large.",
        defect=f"a part of the map is that of {told}, which leaks in or is added for its looks",
        needs=needs,
        amount="the share of the other map",
        usual=SUM,
        mixes=True,
        parts=(mixed_by_sum, source),
    )
    by_product = Operator(
        name=f"{name}_by_product",
        change=partial(mixed_by_product, other),
        statement=f"The map times the magnitude of that of {told}.",
        defect=f"the map is multiplied by that of {told}, as gradients are by inputs",
        needs=needs,
        amount="the power of the other map",
        usual=PRODUCT,
        mixes=True,
        parts=(mixed_by_product, source),
    )
    return [by_sum, by_product]


def _of_control(control: Method, call: Call) -> Tensor:
    """A control's map of the same inputs."""
    return control.bind(call.subject)(call.model, call.inputs, call.targets)


def mixed_by_sum(other: Other, call: Call, dose: float) -> Tensor:
    """The sum of the map and of another one that is as large: (1 − dose) · map + dose · other.

    Both have the norm of the map then, so that a dose of a half is half of each.
    """
    found = _as_large(_beside(other(call), call), call.maps)
    return (1 - dose) * call.maps + dose * found


def mixed_by_product(other: Other, call: Call, dose: float) -> Tensor:
    """The map times the magnitude of another one to the power of the dose, as large as it was."""
    found = _beside(other(call), call).abs()
    share = found / found.flatten(1).amax(1).clamp_min(1e-30).reshape(-1, *[1] * (found.ndim - 1))
    return _as_large(call.maps * share**dose, call.maps)


def _beside(other: Tensor, call: Call) -> Tensor:
    """Another map in the shape of the method's own: summed over channels, or the same in all of them."""
    shape, axes = call.maps.shape, call.layout
    if other.shape == shape:
        return other
    scores = axes.maps(axes.scores(other))
    return scores.to(other).expand(shape)


def _as_large(maps: Tensor, like: Tensor) -> Tensor:
    """Maps (N, …), each of the norm of one like it (N, …); zeros as they are."""
    norms = [one.flatten(1).norm(dim=1).reshape(-1, *[1] * (one.ndim - 1)) for one in (maps, like)]
    return maps * torch.where(norms[0] > 0, norms[1] / norms[0].clamp_min(1e-30), torch.ones_like(norms[1]))
