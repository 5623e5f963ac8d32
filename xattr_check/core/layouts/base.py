"""What a feature is: the axes of the inputs of one kind, and of maps of them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The axes of inputs (N, *F) of one kind; a class for each kind, an object for each shape.

    A feature is what has one score: a pixel, a column, a token, a time. The other axes are the numbers that
    it consists of: its channels, or its embedding.

    shape: (*F), of one input.
    name: how a subject asks for it. axes: of a batch. told: what they are, in words, where their
        number does not tell. rank: how many *F are.
    channels: which axis holds the numbers of a feature, counted from the end; None where each number is a
        feature.
    alike: the axes of a batch along which numbers are of one kind, and have a mean and a deviation in common.
    ordered: whether the next feature along an axis is beside it, or follows it.
    """

    shape: tuple[int, ...]

    name: ClassVar[str]
    axes: ClassVar[str]
    told: ClassVar[str] = ""
    rank: ClassVar[int]
    channels: ClassVar[int | None] = None
    alike: ClassVar[tuple[int, ...]] = (0,)
    ordered: ClassVar[bool] = True
    # What stands for a whole input before any of it is shown: its blur or the data's mean.
    canvas: ClassVar[Literal["mean", "blur"]] = "mean"
    # In which a CPU is fastest, where the model can take it.
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format

    @property
    def ranked(self) -> tuple[int, ...]:
        """The axes of the features, counted from the end."""
        return tuple(axis for axis in range(-len(self.shape), 0) if axis != self.channels)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The features, which are ranked: (H, W) of images, (D,) of columns, (T,) of tokens and signals."""
        return tuple(self.shape[axis] for axis in self.ranked)

    @property
    def map_shape(self) -> tuple[int, ...]:
        """The shape of a map with one number for each feature: (1, H, W), (D,) or (T, 1)."""
        return tuple(self.shape[axis] if axis in self.ranked else 1 for axis in range(-len(self.shape), 0))

    @property
    def map_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that a map of one input may have: `shape` and, where it differs in kind, `map_shape`."""
        return [self.shape, *([] if self.channels is None else [self.map_shape])]

    def scores(self, maps: Tensor) -> Tensor:
        """(N, P) float64: one signed score for each feature, the sum of maps (N, *F) or (N, *map_shape)."""
        maps = maps.double()
        return (maps if self.channels is None else maps.sum(self.channels)).reshape(len(maps), -1)

    def numbers(self, maps: Tensor) -> Tensor:
        """(N, P) float64: one value for each number of an input, that of its feature in maps of features."""
        return maps.double().expand(-1, *self.shape).flatten(1)

    def maps(self, scores: Tensor) -> Tensor:
        """(N, *map_shape): scores of features, (N, P) or (N, *spatial), as maps."""
        return scores.reshape(len(scores), *self.map_shape)

    def expand(self, masks: Tensor) -> Tensor:
        """Masks (…, *spatial) of features, as they broadcast to inputs (…, *F)."""
        return masks if self.channels is None else masks.unsqueeze(self.channels)

    def expand_any(self, masks: Tensor) -> Tensor:
        """(m, …), as broadcasts to inputs (m, *F): masks (m, *spatial) of features or (m, *F) of numbers."""
        return masks if masks.ndim > len(self.shape) else self.expand(masks)

    def mirrored(self, values: Tensor) -> Tensor:
        """Inputs or maps, (…, *F) or (…, *map_shape), with their features in reverse along the last axis."""
        return values.flip(self.ranked[-1])

    def by_feature(self, rows: Tensor) -> Tensor:
        """(N, P, C): inputs (N, *F), the numbers of each of P features together."""
        if self.channels is None:
            return rows.reshape(len(rows), -1, 1)
        return rows.movedim(self.channels, -1).flatten(1, -2)

    def from_features(self, rows: Tensor) -> Tensor:
        """(N, *F): what `by_feature` gave, or anything of its shape, as inputs."""
        if self.channels is None:
            return rows.reshape(len(rows), *self.shape)
        found: Tensor = rows.unflatten(1, self.spatial)
        return found.movedim(-1, self.channels)

    def mean(self, inputs: Tensor) -> Tensor:
        """The mean of inputs (N, *F), broadcastable to them: what stands where a feature is absent."""
        return inputs.mean(self.alike, keepdim=True)

    def deviation(self, inputs: Tensor) -> Tensor:
        """The standard deviation of inputs, as `mean`; of one input, that within it."""
        return inputs.std(self.alike, correction=int(len(inputs) > 1), keepdim=True)

    @property
    def window(self) -> int:
        """How many features on a side are removed at once, where nothing else is asked for."""
        return 1

    def stride_of(self, window: int) -> int:
        """How many features a window of so many on a side moves on by."""
        return 1

    def window_shape(self, side: int) -> tuple[int, ...]:
        """The shape of a window of an input that is so many features long on each side: all their numbers."""
        return tuple(
            side if axis in self.ranked else size
            for axis, size in zip(range(-len(self.shape), 0), self.shape, strict=True)
        )

    def regions(self, cells: int | None = None) -> Tensor:
        """(*spatial) int64: which features belong together, each by itself where none are beside others.

        cells: on a side; by default as many as tell where evidence is.
        """
        return torch.arange(torch.Size(self.spatial).numel()).reshape(self.spatial)

    def coarse(self, about: int) -> Tensor:
        """(*spatial) int64: about so many regions, as many on each side; one for each feature at most."""
        return grid(self.spatial, round(about ** (1 / len(self.spatial))))


def grid(spatial: tuple[int, ...], cells: int) -> Tensor:
    """(*spatial) int64: so many cells on each side, such as cells × cells on images (H, W).

    No more than there are features on a side; numbers are not without gaps then.
    """
    found = torch.zeros((), dtype=torch.int64)
    for side in spatial:
        found = found[..., None] * cells + torch.arange(side) * min(cells, side) // side
    return found
