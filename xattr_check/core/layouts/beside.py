"""Features that lie beside each other, in one direction or in several: pixels, times, voxels."""

import functools

import torch
from torch import Tensor
from torch.nn import functional

from xattr_check.core.layouts.base import Layout, grid

# By the number of axes of the features.
CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
# Of an input, by volume: what a window covers.
WINDOW = 1 / 16
# Cells of which a blur is one product of matrices, three to ten times as fast as convolutions of so few.
FEW = 256


class Beside(Layout):
    """A layout (C, *spatial) of features that have neighbours, which are alike: there is a blur of them.

    cells: of a grid of regions, on a side.
    """

    cells = 8

    @property
    def window(self) -> int:
        """A sixteenth of the input: a quarter of the shorter side of an image."""
        return max(1, int(min(self.spatial) * WINDOW ** (1 / len(self.spatial))))

    def stride_of(self, window: int) -> int:
        """Half of the window."""
        return max(1, window // 2)

    def regions(self, cells: int | None = None) -> Tensor:
        """(*spatial) int64: a grid of so many cells on a side."""
        return grid(self.spatial, self.cells if cells is None else cells)

    def edges(self, inputs: Tensor) -> Tensor:
        """(N, 1, *spatial): how much neighbours differ, in all channels and along all axes."""
        total = torch.zeros_like(inputs[:, :1])
        for axis, side in zip(self.ranked, self.spatial, strict=True):
            if side > 1:
                (slope,) = torch.gradient(inputs, dim=axis)
                total = total + (slope**2).sum(1, keepdim=True)
        return total.sqrt()

    def centre(self, like: Tensor) -> Tensor:
        """(1, *spatial): a Gaussian blob in the middle, a quarter of each side wide."""
        total = torch.zeros((), dtype=like.dtype, device=like.device)
        for side in self.spatial:
            total = total[..., None] + torch.linspace(-2, 2, side, dtype=like.dtype, device=like.device) ** 2
        return torch.exp(-0.5 * total)[None]

    def enlarged(self, cells: Tensor) -> Tensor:
        """Values of cells (N, K, *cells) at all features, (N, K, *spatial), linear between the cells."""
        mode = MODES[len(self.spatial)]
        return functional.interpolate(cells, size=self.spatial, mode=mode, align_corners=False)

    def dilated(self, masks: Tensor, reach: int) -> Tensor:
        """(N, P) bool: masks (N, P) with what is so near to them, on each side."""
        shaped = masks.double().reshape(-1, 1, *self.spatial)
        pooled = POOLS[len(self.spatial)](shaped, 2 * reach + 1, stride=1, padding=reach)
        return pooled.flatten(1) > 0


def blurred(inputs: Tensor, sigma: float) -> Tensor:
    """Inputs (N, C, *spatial) under a Gaussian of so many features, reflected at the border.

    As they are for a sigma of 0.
    """
    if sigma <= 0:
        return inputs
    axes, channels = inputs.ndim - 2, inputs.shape[1]
    radius = min(int(3 * sigma + 0.5), min(inputs.shape[2:]) - 1)
    steps = torch.arange(-radius, radius + 1, dtype=inputs.dtype, device=inputs.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    sides = inputs.shape[2:]
    if sides.numel() <= FEW:
        product = functools.reduce(torch.kron, [_reflected(kernel, side) for side in sides])
        return (inputs.flatten(2) @ product).reshape(inputs.shape)
    found = functional.pad(inputs, (radius, radius) * axes, mode="reflect")
    for axis in reversed(range(axes)):
        along = [1] * axes
        along[axis] = -1
        weight = kernel.reshape(1, 1, *along).expand(channels, 1, *[-1] * axes)
        found = CONVOLUTIONS[axes](found, weight, groups=channels)
    return found


def _reflected(kernel: Tensor, side: int) -> Tensor:
    """(side, side): what each feature of a line gives to each under a kernel (2 · radius + 1,), reflected."""
    radius = len(kernel) // 2
    steps = torch.arange(-radius, radius + 1, device=kernel.device)
    places = (torch.arange(side, device=kernel.device)[:, None] + steps).abs()
    places = (side - 1) - ((side - 1) - places).abs()
    found: Tensor = torch.einsum("psq,s->qp", functional.one_hot(places, side).to(kernel), kernel)
    return found
