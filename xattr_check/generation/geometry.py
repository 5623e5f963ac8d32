"""Geometry: what of an input a generated feature is, and where it can be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.subject import Subject
from xattr_check.generation import patches as boxes
from xattr_check.generation.numbers import Numbers
from xattr_check.generation.sets import Sets
from xattr_check.generation.spans import Spans


class Geometry(Protocol):
    """The features of inputs (N, *F) of one layout, each of which is pasted in one place.

    A place is (A,) int64: where a box begins along each of A axes, or the numbers of A columns. A patch is
    what a feature consists of.
    """

    @property
    def layout(self) -> Layout:
        """Of the inputs."""
        ...

    @property
    def unit(self) -> str:
        """What a side is counted in: pixels, times, columns."""
        ...

    @property
    def least(self) -> int:
        """The smallest side."""
        ...

    @property
    def size(self) -> tuple[int, ...]:
        """How many of those there are along each axis along which features are placed."""
        ...

    @property
    def movable(self) -> bool:
        """Whether a patch may be pasted anywhere: else it belongs to the place that it was made for."""
        ...

    @property
    def priors(self) -> tuple[str, ...]:
        """The names of what a patch may be made of."""
        ...

    @property
    def remedy(self) -> str:
        """What a subject could tell that helps where nothing is certified; empty where there is nothing."""
        ...

    @property
    def key(self) -> list[object]:
        """What places depend on besides a plan, as the store names it."""
        ...

    @property
    def starts(self) -> tuple[int, ...]:
        """The first places along each axis."""
        ...

    def inputs_of(self, subject: Subject) -> Tensor:
        """(N, *F): the subject's inputs as features are pasted on them."""
        ...

    def reading(self, model: nn.Module) -> nn.Module:
        """The subject's model, as it reads such inputs."""
        ...

    def rows_of(self, inputs: Tensor) -> Tensor:
        """(m,) int64: which inputs (N, *F) features fit into, wherever they are."""
        ...

    def noise(
        self, inputs: Tensor, low: Tensor, high: Tensor, width: float, count: int, generator: torch.Generator
    ) -> Tensor:
        """(count, *F): what shows nothing, with noise of some width, for inputs in low … high."""
        ...

    def shares(self, pieces: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(n, …): what a prior starts from, of pieces of inputs."""
        ...

    def values(self, shares: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(n, …): what a prior made, as a piece of an input."""
        ...

    def patch_shape(self, side: int) -> tuple[int, ...]:
        """The shape of a patch."""
        ...

    def side_of(self, patches: Tensor) -> int:
        """The side of patches (n, F, …)."""
        ...

    def place(
        self,
        count: int,
        features: int,
        side: int,
        generator: torch.Generator,
        *,
        gap: int = 0,
        together: bool = False,
    ) -> Tensor:
        """(count, features, A) places of features that never overlap. Raises UsageError if they must."""
        ...

    def paste(self, inputs: Tensor, patches: Tensor, places: Tensor) -> Tensor:
        """Inputs (N, *F) with a patch each at places (N, A); differentiable in both."""
        ...

    def cut(self, inputs: Tensor, places: Tensor, side: int) -> Tensor:
        """What inputs (N, *F) hold at places (N, A), as patches of them."""
        ...

    def mask(self, places: Tensor, side: int) -> Tensor:
        """(N, *map_shape) bool: what a patch at each place (N, A) covers."""
        ...

    def at(self, values: Tensor, places: Tensor) -> Tensor:
        """Values of an input's numbers, as they broadcast to the patches (n · F, …) at places (n, F, A)."""
        ...


@dataclass(frozen=True)
class Boxes(Numbers):
    """Features that lie beside each other, along any number of axes: what a patch is can be moved."""

    layout: Layout
    unit: str
    least: int = 1
    priors: tuple[str, ...] = ("pixels",)
    movable: bool = True

    @property
    def size(self) -> tuple[int, ...]:
        """The features along each axis."""
        return self.layout.spatial

    @property
    def key(self) -> list[object]:
        """The layout and its size."""
        return [self.layout.name, *self.size]

    def place(
        self,
        count: int,
        features: int,
        side: int,
        generator: torch.Generator,
        *,
        gap: int = 0,
        together: bool = False,
    ) -> Tensor:
        """(count, features, A) int64: see `patches.place`."""
        return boxes.place(
            count, features, side, self.size, generator, gap=gap, together=together, unit=self.unit
        )

    def paste(self, inputs: Tensor, patches: Tensor, places: Tensor) -> Tensor:
        """Inputs (N, *F) with a patch each, see `patches.paste`."""
        return self._back(boxes.paste(self._channels_first(inputs), self._channels_first(patches), places))

    def cut(self, inputs: Tensor, places: Tensor, side: int) -> Tensor:
        """What inputs (N, *F) hold in boxes at places (N, A)."""
        return self._back(boxes.cut(self._channels_first(inputs), places, side))

    def mask(self, places: Tensor, side: int) -> Tensor:
        """(N, *map_shape) bool: the features of a box at each place (N, A)."""
        return self.layout.maps(boxes.patch_mask(places, side, self.size))

    def at(self, values: Tensor, places: Tensor) -> Tensor:
        """The values themselves, which are those of channels and the same everywhere."""
        return values

    def absence(self, inputs: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of each channel, and the width of its range.

        Not the middle of the range, which bright strokes on a dark ground are far from: it is no absence.
        """
        return self.layout.mean(inputs)[0], high - low

    def _channels_first(self, values: Tensor) -> Tensor:
        axis = self.layout.channels
        return values.unsqueeze(1) if axis is None else values.movedim(axis, 1)

    def _back(self, values: Tensor) -> Tensor:
        axis = self.layout.channels
        return values.squeeze(1) if axis is None else values.movedim(1, axis)


# By the name of the layout: from a subject.
GEOMETRIES: dict[str, Callable[[Subject], Geometry]] = {
    # Less than four pixels are noise, which a decoder cannot draw either.
    "image": lambda subject: Boxes(subject.layout, "pixels", least=4, priors=("pixels", "decoder")),
    "columns": lambda subject: Sets.of(subject.layout, subject.inputs),
    "embeddings": lambda subject: Boxes(subject.layout, "vectors"),
    "signal": lambda subject: Boxes(subject.layout, "times"),
    "volume": lambda subject: Boxes(subject.layout, "voxels"),
    "tokens": Spans.of,
}


def geometry_of(subject: Subject) -> Geometry:
    """The geometry of the features of a subject's inputs. Raises UsageError where they have no place."""
    return GEOMETRIES[subject.layout.name](subject)
