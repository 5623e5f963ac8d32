"""Operators that spoil the map of a right method."""

import torch
from torch import Tensor

from xattr_check.core.layouts import blurred
from xattr_check.errors import Undefined
from xattr_check.mutation.operator import Call, operator

# Of an 8-bit image.
LEVELS = 255


@operator(
    defect="a loss is differentiated in place of an output, or a score is subtracted the wrong way round"
)
def negated(call: Call, amount: float) -> Tensor:
    """The map with its sign flipped."""
    return -call.maps


@operator(defect="a norm or abs() is taken for display, and evidence against is counted as evidence for")
def magnitude(call: Call, amount: float) -> Tensor:
    """The magnitude of the map."""
    return call.maps.abs()


@operator(defect="a ReLU, as that of CAMs, is kept where evidence against is asked for")
def clipped(call: Call, amount: float) -> Tensor:
    """The map with zero in place of what is negative."""
    return call.maps.clamp_min(0)


@operator(defect="the sign of one channel is lost where channels are normalised or converted one by one")
def negated_channel(call: Call, amount: float) -> Tensor:
    """The map with the sign of the first number of each feature flipped."""
    axis = call.layout.channels
    if axis is None or call.maps.shape[axis] < 2:
        raise Undefined("the map has one number for each feature")
    first = torch.zeros(call.maps.shape[axis], dtype=torch.bool, device=call.maps.device)
    first[0] = True
    return torch.where(first.reshape(-1, *[1] * (-axis - 1)), -call.maps, call.maps)


@operator(
    defect="a crop, a padding or a stride is off, or columns are counted from another one",
    amount="the share of a side by which it is shifted, one feature at least",
    usual=0.125,
    most=0.5,  # from there on it comes nearer again from the other end
)
def shifted(call: Call, amount: float) -> Tensor:
    """The map shifted along all axes of its features, what leaves it coming in at the other end."""
    axes = call.layout.ranked
    return call.maps.roll([max(1, round(amount * call.maps.shape[axis])) for axis in axes], axes)


@operator(defect="an image is turned by its metadata, and its map is not", needs=("image",))
def rotated(call: Call, amount: float) -> Tensor:
    """The map turned by a quarter."""
    axes = call.layout.ranked
    if len(set(call.layout.spatial)) > 1:
        raise Undefined("images that are not square have no quarter turn")
    return call.maps.rot90(1, axes)


@operator(defect="an augmentation, or the order of reading, is undone in the input and not in the map")
def mirrored(call: Call, amount: float) -> Tensor:
    """The map in reverse along its last axis of features."""
    if not call.layout.ordered:
        raise Undefined(f"{call.layout.name} have no order")
    return call.layout.mirrored(call.maps)


@operator(defect="height and width are mixed up in a reshape", needs=("image",))
def transposed(call: Call, amount: float) -> Tensor:
    """The map with its rows written as columns."""
    return call.maps.transpose(*call.layout.ranked).reshape(call.maps.shape)


@operator(
    defect="a map is computed or stored in a lower resolution and resized",
    needs=("neighbours",),
    amount="the deviation of the Gaussian, as a share of the shortest side",
    usual=0.125,
)
def smoothed(call: Call, amount: float) -> Tensor:
    """The map under a Gaussian."""
    return blurred(call.maps, amount * min(call.layout.spatial))


@operator(
    defect="a resizing that overshoots, or a filter for display",
    needs=("neighbours",),
    amount="how many times what a Gaussian takes away is added",
    usual=4.0,
    most=100.0,
)
def sharpened(call: Call, amount: float) -> Tensor:
    """The map with what a Gaussian of a sixteenth of the shortest side takes away, several times."""
    return call.maps + amount * (call.maps - blurred(call.maps, min(call.layout.spatial) / 16))


@operator(defect="a map is stored as an 8-bit image, between its own least and greatest value")
def quantised(call: Call, amount: float) -> Tensor:
    """The map in 256 levels between its extremes, so that zero is lost."""
    flat = call.maps.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low).clamp_min(1e-30) * LEVELS).round().reshape(call.maps.shape)
