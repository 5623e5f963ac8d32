"""What is wrong with the maps that a method returned, in words."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from xattr_check.core.layouts import Layout
from xattr_check.errors import MethodError


def _shape(shape: Iterable[int], count: int) -> str:
    """A shape with N for the number of inputs, so that a fault reads alike for every batch."""
    sizes = [str(size) for size in shape]
    if sizes and sizes[0] == str(count):
        sizes[0] = "N"
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def is_dense(maps: Any) -> bool:
    """Whether maps are a tensor with all its numbers in place."""
    return isinstance(maps, Tensor) and maps.layout == torch.strided


def describe(maps: Any, count: int) -> str:
    """What a method returned for so many inputs, in a few words, and what to do about it."""
    if isinstance(maps, Tensor):
        if maps.layout != torch.strided:
            return f"a tensor of layout {maps.layout}; return .to_dense() of it"
        return _shape(maps.shape, count)
    if isinstance(maps, tuple | list):
        return f"a {type(maps).__name__} of {len(maps)}; return the map alone"
    if maps is None:
        return "None; does the function return its map?"
    if hasattr(maps, "shape"):
        return f"{type(maps).__name__} {_shape(maps.shape, count)}; return torch.as_tensor() of it"
    return f"{type(maps).__name__} {' '.join(repr(maps).split()):.40}"


def shape_fault(maps: Any, inputs: Tensor, layout: Layout) -> str:
    """Why maps are not a dense tensor of a shape that fits inputs of a layout, or an empty string."""
    wanted = [(len(inputs), *shape) for shape in layout.map_shapes]
    if is_dense(maps) and tuple(maps.shape) in wanted:
        return ""
    shapes = " or ".join(_shape(shape, len(inputs)) for shape in wanted)
    return f"expected a tensor {shapes}, came {describe(maps, len(inputs))}"


def type_fault(maps: Tensor, inputs: Tensor) -> str:
    """Why maps are not floating-point numbers on the device of inputs, or an empty string."""
    if not maps.is_floating_point():
        return f"expected floating-point attributions, came {maps.dtype}; quantised maps lose their sign"
    if maps.device != inputs.device:
        return f"expected attributions on {inputs.device}, where the inputs are, came {maps.device}"
    return ""


def finite_fault(maps: Tensor) -> str:
    """Which rows of maps are not finite, or an empty string."""
    bad = (~torch.isfinite(maps)).reshape(len(maps), -1).any(1).nonzero().flatten().tolist()
    if not bad:
        return ""
    kind = "NaN" if bool(torch.isnan(maps).any()) else "infinite values"
    return f"{kind} in the maps of {len(bad)} of {len(maps)} inputs (first: number {bad[0]} of the batch)"


def expect_usable(maps: Any, inputs: Tensor, layout: Layout) -> Tensor:
    """The maps that a method returned, detached. Raises MethodError for what is wrong with them."""
    if fault := shape_fault(maps, inputs, layout) or type_fault(maps, inputs):
        raise MethodError(fault, fault="maps of another kind")
    if fault := finite_fault(maps):
        raise MethodError(fault)
    found: Tensor = maps.detach()
    return found
