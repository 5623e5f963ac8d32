"""Layouts: what the axes of inputs and of maps mean. The only place that asks how many there are.

One file a kind; the base says what a kind may say, and `Beside` what those have whose features lie beside
each other.
"""

import torch
from torch import Tensor, nn

from xattr_check.core.layouts.base import Layout, grid
from xattr_check.core.layouts.beside import Beside, blurred
from xattr_check.core.layouts.columns import Columns
from xattr_check.core.layouts.embeddings import Embeddings
from xattr_check.core.layouts.image import Image
from xattr_check.core.layouts.signal import Signal
from xattr_check.core.layouts.tokens import Tokens
from xattr_check.core.layouts.volume import Volume
from xattr_check.errors import LayoutError, SubjectError

__all__ = [
    "KINDS",
    "Beside",
    "Columns",
    "Embeddings",
    "Image",
    "Layout",
    "Tokens",
    "blurred",
    "expect_channels_first",
    "fastest_format",
    "grid",
    "is_image",
    "layout_of",
]

# In the order in which they are named to users; tokens are ids, and told by that.
KINDS: tuple[type[Layout], ...] = (Image, Columns, Embeddings, Signal, Volume)
# Of images and volumes that are read: grey, red, green and blue, and how opaque.
CHANNELS = 4


def layout_of(inputs: Tensor, given: Layout | str | None = None) -> Layout:
    """The layout of inputs (N, *F), or of maps of them.

    given: a layout or the name of one, which may be of inputs of another size; None where the number of axes
        leaves no doubt.

    Raises LayoutError where it does not fit, or where the axes may mean two things.
    """
    shape = tuple(inputs.shape[1:])
    if given is not None:
        kind = type(given) if isinstance(given, Layout) else _named(given)
        if len(shape) != kind.rank:
            raise LayoutError(
                expected=f"inputs {kind.told}{kind.axes} for layout={kind.name!r}",
                came=str(tuple(inputs.shape)),
                hint=_advice(inputs),
            )
        return kind(shape)
    fitting = _fitting(inputs)
    if len(fitting) == 1:
        return fitting[0](shape)
    came = str(tuple(inputs.shape))
    if fitting:
        choices = " or ".join(f"layout={kind.name!r} for {kind.told}{kind.axes}" for kind in fitting)
        raise LayoutError("what their axes mean cannot be told", expected=choices, came=f"inputs {came}")
    raise LayoutError(
        expected=f"inputs of {', '.join(f'{kind.name} {kind.axes}' for kind in KINDS)}", came=came
    )


def expect_channels_first(inputs: Tensor, model: nn.Module) -> None:
    """Raise SubjectError for inputs (N, *F) that by their shape are images or volumes with channels last.

    Where the model has a convolution that reads as many channels as they have first, and none that reads as
    many as they have last, they are what they seem.
    """
    shape = tuple(inputs.shape[1:])
    layers = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Conv3d)]
    read = {layer.in_channels for layer in layers}
    if shape[0] in read and shape[-1] not in read:
        return
    if len(shape) > 2 and shape[-1] <= CHANNELS and min(shape[:-1]) > 2 * CHANNELS:
        (kind,) = _fitting(inputs)
        raise SubjectError(
            expected=f"{kind.name}s {kind.axes}",
            came=f"{tuple(inputs.shape)}, whose last axis looks like the channels",
            hint="pass inputs.movedim(-1, 1), and for a model that wants them last a module that calls it "
            f"with inputs.movedim(1, -1); layout={kind.name!r} says that they are as they should be",
        )


def _advice(inputs: Tensor) -> str:
    """Which layouts would do for inputs (N, *F)."""
    names = [repr(kind.name) for kind in _fitting(inputs)]
    return f"inputs of so many axes have layout={' or '.join(names)}" if names else ""


def is_image(inputs: Tensor) -> bool:
    """Whether inputs can be nothing but images (N, C, H, W)."""
    return _fitting(inputs) == [Image]


def fastest_format(inputs: Tensor) -> torch.memory_format:
    """The memory format in which a CPU is fastest, whatever inputs (N, *F) may be."""
    formats = {kind.memory_format for kind in _fitting(inputs)}
    return formats.pop() if len(formats) == 1 else torch.contiguous_format


def _fitting(inputs: Tensor) -> list[type[Layout]]:
    return [kind for kind in KINDS if kind.rank == inputs.ndim - 1]


def _named(name: str) -> type[Layout]:
    known: tuple[type[Layout], ...] = (*KINDS, Tokens)
    for kind in known:
        if kind.name == name:
            return kind
    raise LayoutError(expected=f"layout= one of {', '.join(kind.name for kind in known)}", came=repr(name))
