"""Regions of an input as numbers that can be sampled: the maps G, H and R of [sbsa2022]."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.outputs import Output
from xattr_check.imports import imported
from xattr_check.perturbation.outputs import Quantity, outputs_under


@dataclass(frozen=True)
class SemanticMap:
    """Regions of inputs, and a number for each of them.

    index: (N, *spatial) int64 in 0…count − 1, the region of each feature (G); or one for all, (1, *spatial).
        Some inputs may have fewer regions than others.

    A region's number r is the sum of its values above those where it is absent (H). It is set to another
    number by a gain: r̃ = gain · r makes the region absent at 0 and what it is at 1, and doubles its contrast
    at 2 (R). A gain is R without the division by a sum that may be zero; Sec. 2.2 of [sbsa2022] samples
    gains between 0 and 2.
    """

    index: Tensor
    count: int

    @classmethod
    def of(cls, ids: Tensor) -> "SemanticMap":
        """Regions by whole numbers of any value, (1 or N, *spatial)."""
        names, index = ids.unique(return_inverse=True)
        return cls(index, len(names))

    @classmethod
    def single(cls, spatial: tuple[int, ...]) -> "SemanticMap":
        """Every feature by itself, such as columns of a table."""
        return cls.of(torch.arange(math.prod(spatial)).reshape(1, *spatial))

    @classmethod
    def masks(cls, masks: Tensor) -> "SemanticMap":
        """Masks (1 or N, K, *spatial) bool that do not overlap; what is in none of them is a region too."""
        covered = masks.sum(1)
        if bool((covered > 1).any()):
            raise ValueError("expected masks that do not overlap, came some features in several of them")
        numbers = torch.arange(1, masks.shape[1] + 1, device=masks.device)
        return cls.of((masks * numbers.reshape(-1, *[1] * (masks.ndim - 2))).sum(1))

    @classmethod
    def superpixels(cls, images: Tensor, segments: int) -> "SemanticMap":
        """About so many superpixels of each image (N, C, H, W), by SLIC over its own range. [achanta2012]"""
        slic = imported("skimage.segmentation", "slic")
        # Colours in Lab go up to 100, other channels up to 1.
        compactness = 10.0 if images.shape[1] == 3 else 0.1
        ids = [
            torch.from_numpy(slic(image, segments, compactness, start_label=0, channel_axis=-1))
            for image in images.permute(0, 2, 3, 1).cpu().double().numpy()
        ]
        return cls.of(torch.stack(ids).long().to(images.device))

    def to(self, device: torch.device) -> "SemanticMap":
        """The same on a device."""
        return SemanticMap(self.index.to(device), self.count)

    def sums(self, scores: Tensor) -> Tensor:
        """(N, count) float64: sums over the regions of scores (N, *spatial), or (N, P) flat."""
        flat = scores.flatten(1).double()
        index = self.index.flatten(1).expand(len(flat), -1)
        return flat.new_zeros(len(flat), self.count).scatter_add_(1, index, flat)

    def shares(self, gains: Tensor, rows: Tensor) -> Tensor:
        """(m, *spatial): gains (m, count) at the features of each region, for the inputs of m rows."""
        if len(self.index) == 1:
            return gains[:, self.index[0]]
        index = self.index[rows]
        return gains.gather(1, index.flatten(1)).reshape(index.shape)

    def outputs(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        fill: Tensor,
        gains: Tensor,
        *,
        output: Quantity,
        memory: int,
        layout: Layout | str | None = None,
        explained: Output | str | None = None,
    ) -> Tensor:
        """(N, K) float64: the target's output on every input under every row of gains (K, count).

        gains: bool for regions that are there or not, else numbers. As `outputs_under` for the rest.
        """
        given = gains if gains.dtype == torch.bool else gains.to(inputs.dtype)
        placed = given.to(inputs.device)
        return outputs_under(
            model,
            inputs,
            targets,
            fill,
            lambda rows, columns: self.shares(placed[columns], rows),
            len(placed),
            output=output,
            memory=memory,
            layout=layout,
            explained=explained,
        )
