"""Patches: squares of pixels, placed apart on a reference and pasted on it."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from xattr_check.errors import UsageError


def place(
    count: int,
    features: int,
    side: int,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    gap: int = 0,
    together: bool = False,
) -> Tensor:
    """(count, features, 2) int64: top and left of squares that never overlap, anew in each row.

    side: pixels on a side of each. size: (H, W) of the image. gap: pixels between them at the least.
    together: side by side in one fixed arrangement that moves as a whole, for features that only act on
        each other when they are near.
    As in [khakzar2022]: the image is cut in two at random, along either axis, and each part holds its share.

    Raises UsageError where so many squares do not fit.
    """
    height, width = size
    if together:
        columns = min(features, max(1, width // side))
        rows = math.ceil(features / columns)
        _check_fit(rows * side <= height and columns * side <= width, features, side, size, 0)
        index = torch.arange(features)
        offsets = torch.stack([index // columns, index % columns], 1) * side
        room = torch.tensor([height - rows * side + 1, width - columns * side + 1])
        corner = (torch.rand(count, 2, generator=generator) * room).long()
        return corner[:, None] + offsets
    cell = side + gap
    fits = ((height + gap) // cell) * ((width + gap) // cell) >= features
    _check_fit(fits, features, side, size, gap)
    order = torch.rand(count, features, generator=generator).argsort(1).tolist()
    chance = torch.rand(count, 4 * features, generator=generator).tolist()
    places = [
        [where for _, where in sorted(_split(one, 0, 0, height + gap, width + gap, cell, iter(numbers)))]
        for one, numbers in zip(order, chance, strict=True)
    ]
    return torch.tensor(places, dtype=torch.int64).reshape(count, features, 2)


def _check_fit(fits: bool, features: int, side: int, size: tuple[int, int], gap: int) -> None:
    if fits:
        return
    height, width = size
    if side > min(size):
        raise UsageError(
            option="patch",
            value=side,
            expected=f"at most {min(size)} pixels, the smaller side of {height}×{width} inputs",
        )
    apart = f" with {gap} pixels between them" if gap else ""
    raise UsageError(
        f"{features} patches cannot be kept apart{apart} in {height}×{width} inputs",
        option="patch",
        value=side,
        hint="choose a smaller patch",
    )


def _split(
    features: list[int], top: int, left: int, height: int, width: int, cell: int, chance: Iterator[float]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Places of features within a rectangle that holds them, one cell each."""
    if len(features) == 1:
        room = (height - cell + 1, width - cell + 1)
        yield features[0], (top + int(next(chance) * room[0]), left + int(next(chance) * room[1]))
        return
    half = len(features) // 2
    if len(features) % 2:  # the larger part may lie on either side
        half += int(next(chance) * 2)
    parts = features[:half], features[half:]
    # The least extent that each part needs along an axis, when it may fill the other one.
    down = [cell * math.ceil(len(part) / (width // cell)) for part in parts]
    across = [cell * math.ceil(len(part) / (height // cell)) for part in parts]
    axes = [axis for axis, need, extent in ((0, down, height), (1, across, width)) if sum(need) <= extent]
    axis = axes[int(next(chance) * len(axes))]
    need, extent = ((down, height), (across, width))[axis]
    cut = need[0] + int(next(chance) * (extent - sum(need) + 1))
    if axis == 0:
        yield from _split(parts[0], top, left, cut, width, cell, chance)
        yield from _split(parts[1], top + cut, left, height - cut, width, cell, chance)
    else:
        yield from _split(parts[0], top, left, height, cut, cell, chance)
        yield from _split(parts[1], top, left + cut, height, width - cut, cell, chance)


def paste(images: Tensor, patches: Tensor, places: Tensor) -> Tensor:
    """Images (N, C, H, W) with a patch (N, C, side, side) each, at places (N, 2); differentiable in both."""
    count, channels, side, _ = patches.shape
    along = torch.arange(side, device=images.device)
    rows = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    vertical = (places[:, 0, None] + along)[:, None, :, None]
    horizontal = (places[:, 1, None] + along)[:, None, None, :]
    return images.index_put((rows, channel, vertical, horizontal), patches)


def patch_mask(places: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """(N, 1, H, W) bool: the pixels of a square at each place (N, 2)."""
    inside = [
        (torch.arange(extent, device=places.device) - places[:, axis, None])
        for axis, extent in enumerate(size)
    ]
    vertical, horizontal = [(offset >= 0) & (offset < side) for offset in inside]
    return (vertical[:, :, None] & horizontal[:, None, :]).unsqueeze(1)
