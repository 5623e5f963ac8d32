"""Patches: boxes of features that lie beside each other, placed apart on inputs and pasted on them.

Inputs have their channels first, and any number A of axes behind them, two of images.
"""

import math
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from xattr_check.errors import UsageError


def place(
    count: int,
    features: int,
    side: int,
    size: tuple[int, ...],
    generator: torch.Generator,
    *,
    gap: int = 0,
    together: bool = False,
    unit: str = "pixels",
) -> Tensor:
    """(count, features, A) int64: where boxes begin that never overlap, anew in each row.

    side: of each, along every axis. size: of the input, (H, W) of images. gap: between them at the least.
    together: side by side in one fixed arrangement that moves as a whole, for features that only act on
        each other when they are near. unit: what a side is counted in.
    As in [khakzar2022]: the image is cut in two at random, along any axis, and each part holds its share.

    Raises UsageError where so many boxes do not fit.
    """
    if together:
        counts = _arrangement(features, side, size)
        fits = all(many * side <= length for many, length in zip(counts, size, strict=True))
        _check_fit(fits, features, side, size, 0, unit)
        # Not by torch.unravel_index, which imports for a second what no run needs.
        offsets = torch.tensor(list(product(*map(range, counts)))[:features]) * side
        room = torch.tensor([length - many * side + 1 for many, length in zip(counts, size, strict=True)])
        corner = (torch.rand(count, len(size), generator=generator) * room).long()
        return corner[:, None] + offsets
    cell = side + gap
    extents = tuple(length + gap for length in size)
    fits = math.prod(length // cell for length in extents) >= features
    _check_fit(fits, features, side, size, gap, unit)
    order = torch.rand(count, features, generator=generator).argsort(1).tolist()
    chance = torch.rand(count, (2 + len(size)) * features, generator=generator).tolist()
    origin = (0,) * len(size)
    places = [
        [where for _, where in sorted(_split(one, origin, extents, cell, iter(numbers)))]
        for one, numbers in zip(order, chance, strict=True)
    ]
    return torch.tensor(places, dtype=torch.int64).reshape(count, features, len(size))


def _arrangement(features: int, side: int, size: tuple[int, ...]) -> tuple[int, ...]:
    """How many boxes stand beside each other along each axis: as many as fit along the last one first."""
    found, left = [], features
    for length in reversed(size[1:]):
        found.append(min(left, max(1, length // side)))
        left = math.ceil(left / found[-1])
    return (left, *reversed(found))


def _check_fit(fits: bool, features: int, side: int, size: tuple[int, ...], gap: int, unit: str) -> None:
    if fits:
        return
    inputs = f"{'×'.join(map(str, size))} inputs" if len(size) > 1 else f"inputs of {size[0]} {unit}"
    if side > min(size):
        which = "the smaller side of" if len(size) > 1 else "all of"
        raise UsageError(option="patch", value=side, expected=f"at most {min(size)} {unit}, {which} {inputs}")
    apart = f" with {gap} {unit} between them" if gap else ""
    raise UsageError(
        f"{features} patches cannot be kept apart{apart} in {inputs}",
        option="patch",
        value=side,
        hint="choose a smaller patch",
    )


def _split(
    features: list[int], start: tuple[int, ...], size: tuple[int, ...], cell: int, chance: Iterator[float]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Places of features within a box that holds them, one cell each."""
    if len(features) == 1:
        room = [length - cell + 1 for length in size]
        yield (
            features[0],
            tuple(at + int(next(chance) * free) for at, free in zip(start, room, strict=True)),
        )
        return
    half = len(features) // 2
    if len(features) % 2:  # the larger part may lie on either side
        half += int(next(chance) * 2)
    parts = features[:half], features[half:]
    cells = [length // cell for length in size]
    # The least extent that each part needs along an axis, when it may fill the other ones.
    needs = [
        [cell * math.ceil(len(part) / (math.prod(cells) // cells[axis])) for part in parts]
        for axis in range(len(size))
    ]
    axes = [axis for axis, need in enumerate(needs) if sum(need) <= size[axis]]
    axis = axes[int(next(chance) * len(axes))]
    need = needs[axis]
    cut = need[0] + int(next(chance) * (size[axis] - sum(need) + 1))
    yield from _split(parts[0], start, _with(size, axis, cut), cell, chance)
    rest = _with(size, axis, size[axis] - cut)
    yield from _split(parts[1], _with(start, axis, start[axis] + cut), rest, cell, chance)


def _with(values: tuple[int, ...], axis: int, value: int) -> tuple[int, ...]:
    """The values, with another one along an axis."""
    return (*values[:axis], value, *values[axis + 1 :])


def paste(inputs: Tensor, patches: Tensor, places: Tensor) -> Tensor:
    """Inputs (N, C, *size) with a patch (N, C, side, …) each, at places (N, A); differentiable in both."""
    return inputs.index_put(_inside(places, *patches.shape[1:3]), patches)


def cut(inputs: Tensor, places: Tensor, side: int) -> Tensor:
    """(N, C, side, …): what inputs (N, C, *size) hold at places (N, A)."""
    return inputs[_inside(places, inputs.shape[1], side)]


def _inside(places: Tensor, channels: int, side: int) -> tuple[Tensor, ...]:
    """The indices of boxes at places (N, A), which broadcast to (N, C, side, …)."""
    count, axes = places.shape
    along = torch.arange(side, device=places.device)
    rows = torch.arange(count, device=places.device).reshape(count, *[1] * (axes + 1))
    found = [rows, torch.arange(channels, device=places.device).reshape(1, channels, *[1] * axes)]
    for axis in range(axes):
        shape = _with((count, *[1] * (axes + 1)), 2 + axis, side)
        found.append((places[:, axis, None] + along).reshape(shape))
    return tuple(found)


def patch_mask(places: Tensor, side: int, size: tuple[int, ...]) -> Tensor:
    """(N, 1, *size) bool: the features of a box at each place (N, A)."""
    found = torch.ones(len(places), *size, dtype=torch.bool, device=places.device)
    for axis, length in enumerate(size):
        offset = torch.arange(length, device=places.device) - places[:, axis, None]
        inside = (offset >= 0) & (offset < side)
        found &= inside.reshape(_with((len(places), *[1] * len(size)), 1 + axis, length))
    return found.unsqueeze(1)
