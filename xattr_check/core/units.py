"""Units: what is ranked and removed as one, a pixel, a channel of a pixel, or a region."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xattr_check.core.subject import Subject

By = Literal["pixels", "channels", "regions"]
# Cells on a side of an image whose subject has no regions of its own.
CELLS = 8


def grid(spatial: tuple[int, ...], cells: int) -> Tensor:
    """(*spatial) int64: cells × cells on images (H, W), or so many runs of columns or tokens.

    No more than there are features on a side; numbers are not without gaps then.
    """
    places = [torch.arange(side) * min(cells, side) // side for side in spatial]
    return places[0] if len(places) == 1 else places[0][:, None] * cells + places[1]


@dataclass(frozen=True)
class Units:
    """Features that are ranked, shown and removed together.

    index: int64, the unit of each feature in 0…count − 1: (*spatial), or (*F) where channels are apart.
    """

    index: Tensor
    count: int

    @classmethod
    def of(cls, subject: Subject, by: By) -> "Units":
        """The units of a subject, on its device.

        by: `pixels`, with columns and tokens for what is no image; `channels`, every number by itself;
            `regions`, the subject's own, else a grid on images, else single columns or tokens.
        """
        shape = tuple(subject.inputs.shape[1:]) if by == "channels" else subject.spatial
        index = torch.arange(torch.Size(shape).numel()).reshape(shape)
        if by == "regions" and subject.regions is not None:
            index = subject.regions
        elif by == "regions" and subject.is_image:
            index = grid(shape, CELLS)
        names, index = index.unique(return_inverse=True)
        return cls(index.to(subject.inputs.device), len(names))

    def sums(self, maps: Tensor) -> Tensor:
        """(N, count) float64: the sum of maps (N, *F) or (N, 1, *spatial) over each unit."""
        if self.index.ndim == maps.ndim - 1 and maps.ndim > 2:
            flat = maps.double().expand(-1, *self.index.shape).flatten(1)
        else:
            flat = feature_scores(maps, tuple(self.index.shape))
        return flat.new_zeros(len(flat), self.count).index_add_(1, self.index.flatten(), flat)

    def spread(self, values: Tensor) -> Tensor:
        """(m, *index.shape): values (m, count) of the units, at all features of each."""
        return values[:, self.index]


def feature_scores(maps: Tensor, spatial: tuple[int, ...]) -> Tensor:
    """(N, P) float64: one signed score for each feature, the sum over channels or embedding."""
    if maps.ndim == 4:
        maps = maps.double().sum(1)
    elif maps.ndim == 3:
        maps = maps.double().sum(-1)
    return maps.double().reshape(len(maps), -1)
