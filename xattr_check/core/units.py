"""Units: what is ranked and removed as one, a pixel, a channel of a pixel, or a region."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xattr_check.core.layouts import Layout
from xattr_check.core.subject import Subject

By = Literal["pixels", "channels", "regions"]


@dataclass(frozen=True)
class Units:
    """Features that are ranked, shown and removed together.

    index: int64, the unit of each feature in 0…count − 1: (*spatial), or (*F) where channels are apart.
    layout: of the inputs.
    """

    index: Tensor
    count: int
    layout: Layout

    @classmethod
    def of(cls, subject: Subject, by: By) -> "Units":
        """The units of a subject, on its device.

        by: `pixels`, with columns and tokens for what is no image; `channels`, every number by itself;
            `regions`, the subject's own, else those of its layout: a grid on images, signals and volumes,
            single columns or tokens.
        """
        layout = subject.layout
        shape = layout.shape if by == "channels" else layout.spatial
        index = torch.arange(torch.Size(shape).numel()).reshape(shape)
        if by == "regions" and subject.regions is not None:
            index = subject.regions
        elif by == "regions":
            index = layout.regions()
        names, index = index.unique(return_inverse=True)
        return cls(index.to(subject.inputs.device), len(names), layout)

    def sums(self, maps: Tensor) -> Tensor:
        """(N, count) float64: the sum of maps (N, *F) or (N, 1, *spatial) over each unit."""
        apart = self.index.shape == self.layout.shape
        flat = self.layout.numbers(maps) if apart else self.layout.scores(maps)
        return flat.new_zeros(len(flat), self.count).index_add_(1, self.index.flatten(), flat)

    def spread(self, values: Tensor) -> Tensor:
        """(m, *index.shape): values (m, count) of the units, at all features of each."""
        return values[:, self.index]
