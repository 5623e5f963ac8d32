"""XRAI."""

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import Count
from xattr_check.imports import imported
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import expect_at_least, expect_images
from xattr_methods.gradients.integrated_gradients import integrated_gradients

# The authors' settings of the segmentation, for images of 224 × 224 pixels between −1 and 1.
SIDE = 224
SCALES = (50, 100, 150, 250, 500, 1200)
SIGMA, SMALLEST, DILATION, LEAST_GAIN = 0.8, 150, 5, 50


def segmented(image: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(scales, H, W): segments of an image (H, W, C) at all scales, numbered through. [felzenszwalb2004]

    Lengths and areas are those of the authors, in proportion to the image: they enlarge it to 224 × 224,
    which takes fifty times as long for 32 × 32 pixels and finds about as many segments.
    """
    felzenszwalb = imported("skimage.segmentation", "felzenszwalb")
    spread = image.max() - image.min()
    image = 2 * (image - image.min()) / (spread if spread > 0 else 1) - 1
    share = math.sqrt(image.shape[0] * image.shape[1]) / SIDE
    levels, offset = [], 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got image with third dimension", RuntimeWarning)
        for scale in SCALES:
            found = felzenszwalb(
                image, scale=scale, sigma=SIGMA * share, min_size=max(1, round(SMALLEST * share**2))
            )
            levels.append(found + offset)
            offset += int(found.max()) + 1
    return np.stack(levels).astype(np.int64)


def dilated(levels: npt.NDArray[np.int64], radius: int) -> npt.NDArray[np.bool_]:
    """(H, W, K): which of the K segments, each grown by a disk, hold a pixel.

    A pixel is in a grown segment where one of its neighbours is in the segment: one assignment for each
    neighbour serves all segments of all scales.
    """
    height, width = levels.shape[1:]
    held = np.zeros((height, width, int(levels.max()) + 1), dtype=np.bool_)
    np.put_along_axis(held, np.moveaxis(levels, 0, 2), True, axis=2)
    # Each pair of pixels once: the upper of the two, or the left one, is `here`.
    for down in range(radius + 1):
        for right in range(-radius if down else 1, radius + 1):
            if down**2 + right**2 > radius**2:
                continue
            left, end = max(0, -right), min(width, width - right)
            here, there = levels[:, : height - down, left:end], levels[:, down:, left + right : end + right]
            # Most pixels have only neighbours of their own segment.
            level, row, column = np.nonzero(here != there)
            held[row, column + left, there[level, row, column]] = True
            held[row + down, column + left + right, here[level, row, column]] = True
    return held


def ranked(attribution: npt.NDArray[Any], held: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.float64]:
    """(P,): pixels with the mean attribution (P,) of what their segment added when its turn came.

    held: (P, K) bool. The segment whose new pixels have the highest mean comes next, of those that add at
    least so many; what none adds has its own mean. Sums over new pixels are kept up to date, so that every
    pixel is visited once.
    """
    weights = np.stack([np.ones_like(attribution), attribution])

    def totals(pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(2, K): how many of the pixels each segment holds, and their attribution."""
        total: npt.NDArray[np.float64] = weights[:, pixels] @ held[pixels].astype(weights.dtype)
        return total

    # In parts, because bytes become numbers of eight bytes.
    parts = np.array_split(np.arange(len(held)), 1 + len(held) // 4096)
    added = np.sum([totals(part) for part in parts], axis=0)
    free = np.ones(len(attribution), dtype=np.bool_)
    found = np.empty(len(attribution))
    while (added[0] >= least).any():
        best = np.where(added[0] >= least, added[1] / np.maximum(added[0], 1), -np.inf).argmax()
        new = np.flatnonzero(held[:, best] & free)
        found[new] = attribution[new].mean()
        free[new] = False
        added = added - totals(new)
    if free.any():
        found[free] = attribution[free].mean()
    return found


@method(needs=("image",))
def xrai(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    steps: Count = 100,
    channels: str = "max",
    memory: int = MEMORY,
) -> Tensor:
    """Integrated gradients averaged over segments, the densest first, (N, 1, H, W). [kapishnikov2019]

    steps: of the path from black and of the one from white, the smallest and the largest value of each image.
    channels: `max`, as the authors' code has it, or `sum`, with which maps have the sum of the gradients'.
    The segments are those of six scales [felzenszwalb2004], overlapping; each pixel is given the mean over
    what its segment added to those before it.

    Raises ValueError for inputs that are not images, and for other parameters.
    """
    expect_images("xrai", inputs)
    if channels not in ("max", "sum"):
        raise ValueError(f"xrai: expected channels 'max' or 'sum', came {channels!r}")
    expect_at_least("xrai", 1, steps=steps)
    paths = [
        integrated_gradients(model, inputs, targets, baseline=end, steps=steps, memory=memory)
        for end in (inputs.amin((1, 2, 3), keepdim=True), inputs.amax((1, 2, 3), keepdim=True))
    ]
    mean = (paths[0].double() + paths[1].double()) / 2
    attributions = (mean.amax(1) if channels == "max" else mean.sum(1)).flatten(1).cpu().numpy()
    share = math.sqrt(math.prod(inputs.shape[2:])) / SIDE
    maps = np.empty(attributions.shape)
    images = inputs.double().cpu().permute(0, 2, 3, 1).numpy()
    for row, (image, attribution) in enumerate(zip(images, attributions, strict=True)):
        held = dilated(segmented(image), round(DILATION * share)).reshape(len(attribution), -1)
        maps[row] = ranked(attribution, held, max(1, round(LEAST_GAIN * share**2)))
    return torch.from_numpy(maps).to(inputs).reshape(len(inputs), 1, *inputs.shape[2:])
