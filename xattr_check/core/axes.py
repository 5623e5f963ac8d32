"""What the axes of inputs and of maps mean: the only place that asks how many there are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The axes of inputs (N, *F) of one kind: images, columns, embeddings.

    A feature is what has one score: a pixel, a column, a token. The others are the numbers that it consists
    of: its channels, or its embedding.

    shape: (*F), of one input.
    channels: which axis holds the numbers of a feature, counted from the end; None where each number is a
        feature.
    alike: the axes of a batch along which numbers are of one kind, and have a mean and a deviation in common.
    """

    shape: tuple[int, ...]
    channels: int | None = None
    alike: tuple[int, ...] = (0,)

    @property
    def is_known(self) -> bool:
        """Whether inputs are of one of the kinds."""
        return len(self.shape) in (1, 2, 3)

    @property
    def is_image(self) -> bool:
        """Whether inputs are (N, C, H, W)."""
        return len(self.shape) == 3

    @property
    def spatial(self) -> tuple[int, ...]:
        """The axes of the features, which are ranked: (H, W) of images, (D,) of columns, (T,) of tokens."""
        return tuple(size for size, axis in self._axes if axis != self.channels)

    @property
    def map_shape(self) -> tuple[int, ...]:
        """The shape of a map with one number for each feature: (1, H, W), (D,) or (T, 1)."""
        return tuple(1 if axis == self.channels else size for size, axis in self._axes)

    @property
    def map_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that a map of one input may have: `shape` and, where it differs in kind, `map_shape`."""
        return [self.shape, *([] if self.channels is None else [self.map_shape])]

    @property
    def _axes(self) -> list[tuple[int, int]]:
        """The size of each axis, and its number from the end."""
        return [(size, axis - len(self.shape)) for axis, size in enumerate(self.shape)]

    @property
    def memory_format(self) -> torch.memory_format:
        """In which a CPU is fastest, where the model can take it: channels last for images."""
        return torch.channels_last if self.is_image else torch.contiguous_format

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

    def window(self, side: int) -> tuple[int, ...]:
        """The shape of a window of an input that is so many features long on each side: all their numbers."""
        return tuple(size if axis == self.channels else side for size, axis in self._axes)

    def mean(self, inputs: Tensor) -> Tensor:
        """The mean of inputs (N, *F), by channel of images and by number of others, broadcastable to them."""
        return inputs.mean(self.alike, keepdim=True)

    def deviation(self, inputs: Tensor) -> Tensor:
        """The standard deviation of inputs, as `mean`."""
        return inputs.std(self.alike, keepdim=True)

    def by_feature(self, rows: Tensor) -> Tensor:
        """(N, P, C): inputs (N, *F), the numbers of each of P features together."""
        if self.is_image:
            return rows.flatten(2).mT
        return rows.reshape(len(rows), torch.Size(self.spatial).numel(), -1)

    def from_features(self, rows: Tensor) -> Tensor:
        """(N, *F): what `by_feature` gave, or anything of its shape, as inputs."""
        return (rows.mT if self.is_image else rows).reshape(len(rows), *self.shape)


def layout_of(inputs: Tensor) -> Layout:
    """The layout of inputs (N, *F), or of maps of them: images (C, H, W), columns (D,) or tokens (T, E).

    Of others, every number is a feature.
    """
    shape = tuple(inputs.shape[1:])
    if len(shape) == 3:
        return Layout(shape, channels=-3, alike=(0, 2, 3))
    return Layout(shape, channels=-1) if len(shape) == 2 else Layout(shape)


def grid(spatial: Sequence[int], cells: int) -> Tensor:
    """(*spatial) int64: cells × cells on images (H, W), or so many runs of columns or tokens.

    No more than there are features on a side; numbers are not without gaps then.
    """
    places = [torch.arange(side) * min(cells, side) // side for side in spatial]
    return places[0] if len(places) == 1 else places[0][:, None] * cells + places[1]
