"""Regions by name, as a parameter asks for them: `grid:8`, `mask`, `superpixels`, `colour`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_check.core.context import current
from xattr_check.core.layouts import Beside, Columns, Embeddings, Layout, grid
from xattr_check.core.subject import Subject
from xattr_check.errors import Declined
from xattr_check.perturbation.regions import SemanticMap

# As many as an image has cells by default.
SEGMENTS = 64
# Features of which there are groups, by what they are called.
GROUPED: dict[str, type[Layout]] = {"columns": Columns, "tokens": Embeddings}


@dataclass(frozen=True)
class Asked:
    """What regions are asked for.

    inputs: (N, *F). number: what follows the name and a colon. subject: whose the inputs are, where that is
        known.
    """

    name: str
    inputs: Tensor
    layout: Layout
    number: int | None
    subject: Subject | None

    def declined(self, expected: str) -> Declined:
        """The error where inputs have no such regions."""
        return Declined(
            f"expected {expected} for regions {self.name!r}, "
            f"came {self.layout.name} {tuple(self.inputs.shape)}"
        )


def regions_by_name(
    spec: str, inputs: Tensor, layout: Layout, cells: int | None = None, subject: Subject | None = None
) -> SemanticMap:
    """Regions of inputs (N, *F) that a spec asks for, `NAME` or `NAME:NUMBER`.

    `grid`: so many cells on each side, by default 8 on an image, 4 of a volume, 32 runs of a signal; columns
        and tokens are by themselves.
    `single`: every feature by itself.
    `mask`: what makes the target, by the subject's truth, and the rest, which comes first. A map of them
        knows what checks of localisation ask for.
    `superpixels`: so many at most, 64 by default, of each image or volume its own.
    `columns`, `tokens`: the groups of the subject where it has some, else each by itself; or so many runs.
    `channels`: of images, signals and volumes, each by itself or so many runs.
    `colour`: luminance, which comes first, and chroma.

    cells: what a number after `grid` says.

    Raises ValueError for other specs, and Declined, which is one, where the inputs have no such regions.
    """
    name, colon, text = spec.partition(":")
    if name not in NAMES:
        *most, last = NAMES
        raise ValueError(
            f"expected regions {', '.join(map(repr, most))}, {last!r} or a tensor, came {spec!r}"
        )
    if colon and (name not in NUMBERED or not text.isdecimal() or int(text) < 1):
        wanted = f"'{name}:NUMBER'" if name in NUMBERED else repr(name)
        raise ValueError(f"expected regions {wanted}, came {spec!r}")
    if name == "grid" and cells is not None:
        if colon:
            raise ValueError(f"expected cells once, came regions {spec!r} and cells {cells}")
        if cells < 1:
            raise ValueError(f"expected cells of at least 1, came {cells}")
        text = str(cells)
    number = int(text) if text else None
    found = NAMES[name](Asked(name, inputs, layout, number, subject))
    return found.to(inputs.device)


def _grid(asked: Asked) -> SemanticMap:
    return SemanticMap.of(asked.layout.regions(asked.number)[None])


def _single(asked: Asked) -> SemanticMap:
    return SemanticMap.single(asked.layout.spatial)


def _mask(asked: Asked) -> SemanticMap:
    subject = asked.subject
    if subject is None or "mask" not in subject.truth:
        raise Declined("expected a subject whose truth has a mask for regions 'mask', came none")
    index = current()
    index = subject.locate(asked.inputs) if index is None else index.expand(len(asked.inputs))
    mask = subject.truth["mask"]
    shown = mask[index.to(mask.device)].reshape(-1, *asked.layout.spatial)
    # Two, also where the mask of an input is empty.
    return SemanticMap(shown.long(), 2, own=True)


def _superpixels(asked: Asked) -> SemanticMap:
    if not isinstance(asked.layout, Beside) or len(asked.layout.spatial) < 2:
        raise asked.declined("images or volumes")
    return SemanticMap.superpixels(asked.inputs, asked.number or SEGMENTS)


def _groups(asked: Asked) -> SemanticMap:
    layout = asked.layout
    if not isinstance(layout, GROUPED[asked.name]):
        raise asked.declined(asked.name)
    if asked.number is not None:
        return SemanticMap.of(grid(layout.spatial, asked.number)[None])
    own = None if asked.subject is None else asked.subject.regions
    return SemanticMap.single(layout.spatial) if own is None else SemanticMap.of(own[None])


def _channels(asked: Asked) -> SemanticMap:
    layout = asked.layout
    if not isinstance(layout, Beside) or layout.channels is None:
        raise asked.declined("images, signals or volumes")
    count = layout.shape[layout.channels]
    runs = torch.arange(count) if asked.number is None else grid((count,), asked.number)
    return SemanticMap.numbers(runs, layout.shape)


def _colour(asked: Asked) -> SemanticMap:
    if asked.layout.name != "image" or asked.layout.shape[0] != 3:
        raise asked.declined("images of three channels")
    return SemanticMap.colour(asked.layout.shape)


NAMES: dict[str, Callable[[Asked], SemanticMap]] = {
    "grid": _grid,
    "single": _single,
    "mask": _mask,
    "superpixels": _superpixels,
    "columns": _groups,
    "tokens": _groups,
    "channels": _channels,
    "colour": _colour,
}
# Those that a number may follow.
NUMBERED = {"grid", "superpixels", "columns", "tokens", "channels"}
