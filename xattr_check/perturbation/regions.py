"""Regions of an input as numbers that can be sampled: the maps G, H and R of [sbsa2022]."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.outputs import Output
from xattr_check.errors import Declined
from xattr_check.imports import imported
from xattr_check.perturbation.outputs import Absent, Quantity, outputs_under

# Of red, green and blue in luminance, by ITU-R BT.709, the primaries of sRGB.
LUMINANCE = (0.2126, 0.7152, 0.0722)
# Bits of a place on each axis, of four at most.
DEPTH = 15


def opponent(inverse: bool = False) -> Tensor:
    """(3, 3) float64: of red, green and blue, the luminance, and red and blue without it; or back."""
    red, green, blue = LUMINANCE
    rows = (
        [[1, 1, 0], [1, -red / green, -blue / green], [1, 0, 1]]
        if inverse
        else [[red, green, blue], [1 - red, -green, -blue], [-red, -green, 1 - blue]]
    )
    return torch.tensor(rows, dtype=torch.float64)


def mixed(inputs: Tensor, matrix: Tensor) -> Tensor:
    """Images (N, C, H, W) whose channels are sums of the channels of others, as a matrix (C, C) tells."""
    return torch.einsum("dc,nchw->ndhw", matrix.to(inputs), inputs)


class Mixing(nn.Module):
    """A model of images whose channels are luminance and chroma."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Any:
        """What the model returns of them in red, green and blue."""
        return self.model(mixed(inputs, opponent(inverse=True)))


@dataclass(frozen=True)
class SemanticMap:
    """Regions of inputs, and a number for each of them.

    index: (N, *spatial) int64 in 0…count − 1, the region of each feature (G); or one for all, (1, *spatial).
        Some inputs may have fewer regions than others. Or (N or 1, *F), the region of each number of a
        feature, such as its channels.
    coloured: whether the numbers are not red, green and blue, but what `opponent` makes of them, so that
        regions are in the same places.
    own: whether each input has regions of its own, also where there is but one input.

    A region's number r is the sum of its values above those where it is absent (H). It is set to another
    number by a gain: r̃ = gain · r makes the region absent at 0 and what it is at 1, and doubles its contrast
    at 2 (R). A gain is R without the division by a sum that may be zero; Sec. 2.2 of [sbsa2022] samples
    gains between 0 and 2.
    """

    index: Tensor
    count: int
    coloured: bool = False
    own: bool = False

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
        """So many superpixels of each image or volume (N, C, *spatial) at most, by SLIC. [achanta2012]

        Over its own range; about so many where it shows something everywhere. All have so many regions, of
        which some may be empty: a design for them must not depend on other images.
        """
        slic = imported("skimage.segmentation", "slic")
        # Colours in Lab go up to 100, other channels up to 1.
        compactness = 10.0 if images.shape[1] == 3 else 0.1
        index = torch.zeros(len(images), *images.shape[2:], dtype=torch.int64)
        for row, image in enumerate(images.movedim(1, -1).cpu().double().numpy()):
            # As many as are asked for are where it starts, and it may end with more.
            for wanted in range(segments, 0, -1):
                ids = slic(image, wanted, compactness, start_label=0, channel_axis=-1)
                if ids.max() < segments:
                    index[row] = torch.from_numpy(ids)
                    break
        return cls(index.to(images.device), segments, own=True)

    @classmethod
    def numbers(cls, ids: Tensor, shape: tuple[int, ...]) -> "SemanticMap":
        """Channels (C,) by whole numbers of any value, for inputs of a shape (C, *spatial)."""
        found = cls.of(ids)
        index = found.index.reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
        return cls(index[None], found.count)

    @classmethod
    def colour(cls, shape: tuple[int, ...]) -> "SemanticMap":
        """Luminance and chroma of images (3, H, W), as they come, normalised or not.

        With gains g and h of them, a pixel whose contrast to where it is absent has the luminance l and the
        chroma c = contrast − l becomes g l + h c above what is there in its absence.
        """
        found = cls.numbers(torch.tensor([0, 1, 1]), shape)
        return cls(found.index, found.count, coloured=True)

    def to(self, device: torch.device) -> "SemanticMap":
        """The same on a device."""
        return replace(self, index=self.index.to(device))

    def sums(self, scores: Tensor) -> Tensor:
        """(N, count) float64: sums over the regions of scores (N, *spatial), or (N, P) flat."""
        flat = scores.flatten(1).double()
        index = self.index.flatten(1).expand(len(flat), -1)
        return flat.new_zeros(len(flat), self.count).scatter_add_(1, index, flat)

    def centres(self) -> Tensor:
        """(N or 1, count, axes) float64 on the CPU: the mean place of each region's features.

        NaN for regions that an input does not have.
        """
        index = self.index.cpu()
        places = torch.stack(
            torch.meshgrid(*[torch.arange(side) for side in index.shape[1:]], indexing="ij")
        ).flatten(1)
        flat = index.flatten(1)
        sizes = torch.zeros(len(flat), self.count, dtype=torch.float64)
        sizes.scatter_add_(1, flat, torch.ones(flat.shape, dtype=torch.float64))
        sums = torch.stack(
            [
                sizes.new_zeros(sizes.shape).scatter_add_(1, flat, axis.double().expand(flat.shape))
                for axis in places
            ],
            -1,
        )
        return sums / sizes[..., None]

    def nearby(self) -> Tensor:
        """(N or 1, count) int64: regions in an order in which those that follow each other lie together.

        That of a Z-order curve through their centres [morton1966]: of a grid of 2ⁿ cells on a side, runs of
        4 are squares, and so are runs of 16. Regions that an input does not have come last.
        """
        sides = torch.tensor(self.index.shape[1:], dtype=torch.float64)
        centres = (self.centres() + 0.5) / sides
        places = (centres.nan_to_num(0) * 2**DEPTH).long()
        keys = torch.zeros(places.shape[:-1], dtype=torch.int64)
        for bit in range(DEPTH - 1, -1, -1):
            for axis in places.unbind(-1):
                keys = 2 * keys + (axis >> bit & 1)
        keys = keys.where(~centres.isnan().any(-1), torch.iinfo(torch.int64).max)
        return keys.argsort(dim=1, stable=True)

    def correlation(self, near: float) -> Tensor:
        """(count, count) float64: `near` for regions side by side, a power of it for those further apart.

        The power is the distance of their centres, in units of the distance to the nearest region, of the
        median one; a correlation that falls so is one in any number of dimensions.

        Raises ValueError where each input has regions of its own.
        """
        if self.own or len(self.index) != 1:
            raise ValueError("expected regions that are the same for all inputs where gains are correlated")
        (centres,) = self.centres()
        distances = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
        if self.count == 1:
            return torch.ones_like(distances)
        nearest = (distances + torch.diag(torch.full((self.count,), torch.inf))).amin(1)
        found: Tensor = near ** (distances / nearest.median())
        return found

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
        fill: Absent,
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
        if self.coloured:
            if not isinstance(fill, Tensor):
                raise Declined("expected regions of pixels for what is guessed of them, came colours")
            model = Mixing(model)
            inputs, fill = (mixed(images, opponent()) for images in (inputs, fill))
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
