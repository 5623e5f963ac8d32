"""Where maps of a few cells exceed a value, at all features: only there it is computed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from xattr_check.core.devices import WITHOUT_FLOAT64


@dataclass(frozen=True)
class Axis:
    """The features along an axis in groups, each between the same two cells.

    low, high: (G,) int64, the cells of each group. starts, stops: (G,) int64, its first feature and the one
    after its last. share: (F,), how near each feature is to the high cell of its group; it does not fall
    within one.
    """

    low: Tensor
    high: Tensor
    starts: Tensor
    stops: Tensor
    share: Tensor

    @classmethod
    def of(cls, cells: int, features: int, like: Tensor) -> "Axis":
        """So many features over so many cells, whose middles lie in the middle of theirs."""
        # In float64: so that a feature that lies on a cell has a share of 0 or 1.
        places = (torch.arange(features, dtype=torch.float64) + 0.5) * cells / features - 0.5
        low = places.clamp_min(0).floor().long().clamp_max(cells - 1)
        # Beyond the outer cells a map is what it is on them; groups of their own keep all groups short.
        lows, sizes = torch.where(places < 0, -1, low).unique_consecutive(return_counts=True)
        high = torch.where(lows < 0, 0, lows + 1).clamp_max(cells - 1)
        stops = sizes.cumsum(0)
        share = (places - low).clamp(0, 1).to(like)
        low, high, starts, stops = (
            one.to(like.device) for one in (lows.clamp_min(0), high, stops - sizes, stops)
        )
        return cls(low, high, starts, stops, share)

    def spread(self) -> tuple[Tensor, Tensor, Tensor]:
        """(G, W): the features of each group, how near they are to the high cell, and which fill it up."""
        within = torch.arange(int((self.stops - self.starts).max()), device=self.starts.device)
        features = self.starts[:, None] + within
        beyond = features >= self.stops[:, None]
        features = torch.where(beyond, self.starts[:, None], features)
        return features, self.share[features], beyond


@dataclass(frozen=True)
class Runs:
    """Features next to each other along the last axis, on which maps exceed their cutoffs.

    maps, blocks: (m,) int64, where any may: the map, and the block. of: (r,) int64, which of these m each run
    is in. rows: (r,) int64, its place along all other axes. starts, stops: (r,) int64, its first feature
    along the last, and the one after it.
    """

    maps: Tensor
    blocks: Tensor
    of: Tensor
    rows: Tensor
    starts: Tensor
    stops: Tensor

    def counts(self) -> Tensor:
        """(m,) int64: how many features exceed the cutoff in each block."""
        return torch.zeros_like(self.maps).index_add_(0, self.of, self.stops - self.starts)

    def within(self, pairs: Tensor, masks: Tensor, sums: Tensor) -> Tensor:
        """(p,) int64: how many of them in blocks `pairs` (p,) of the m a mask has, masks (p,) by number.

        sums: of the masks, (n, rows, features + 1).
        """
        sizes = torch.zeros_like(self.maps).index_add_(0, self.of, torch.ones_like(self.of))
        first, each = (sizes.cumsum(0) - sizes)[pairs], sizes[pairs]
        pair = torch.arange(len(pairs), device=pairs.device).repeat_interleave(each)
        # Runs are in the order of their blocks.
        run = torch.arange(len(pair), device=pairs.device) + (first - (each.cumsum(0) - each))[pair]
        row = (masks[pair] * sums.shape[1] + self.rows[run]) * sums.shape[2]
        flat = sums.flatten()
        inside = flat[row + self.stops[run]] - flat[row + self.starts[run]]
        return torch.zeros_like(pairs).index_add_(0, pair, inside.long())


class Blocks:
    """The features of inputs in blocks, each between the same cells of a layer.

    A map that is linear between its cells exceeds a value within a block only if it does on a cell at one of
    its corners, so that most blocks of most maps need not be computed. Along each line in a block it exceeds
    it up to a point, or from one on.

    cells, spatial: how many there are along each axis. device: of the maps.
    """

    def __init__(self, cells: Sequence[int], spatial: Sequence[int], device: torch.device) -> None:
        # Of shares: so that rounding moves no end of a run, as far as the device can.
        exact = torch.zeros(
            (), dtype=torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64, device=device
        )
        self.axes = [Axis.of(*counts, exact) for counts in zip(cells, spatial, strict=True)]
        last = self.axes[-1]
        group = torch.arange(len(last.low), device=device).repeat_interleave(last.stops - last.starts)
        self._keys = 2 * group + last.share  # rising from feature to feature, in the order of the groups
        self._outer = [axis.spread() for axis in self.axes[:-1]]
        self._spatial = tuple(spatial)

    @property
    def count(self) -> int:
        """B, how many blocks there are."""
        return math.prod(len(axis.low) for axis in self.axes)

    def sums(self, masks: Tensor) -> Tensor:
        """(n, rows, features + 1) int32: along the last axis, how many features masks (n, *spatial) have."""
        lines = masks.reshape(len(masks), math.prod(self._spatial[:-1]), self._spatial[-1])
        sums = torch.zeros(*lines.shape[:2], lines.shape[2] + 1, dtype=torch.int32, device=masks.device)
        torch.cumsum(lines, 2, dtype=torch.int32, out=sums[..., 1:])
        return sums

    def touched(self, sums: Tensor) -> Tensor:
        """(n, B) bool: in which blocks masks have features at all, by their sums."""
        last = self.axes[-1]
        found = sums[..., last.stops] > sums[..., last.starts]
        found = found.reshape(len(sums), *self._spatial[:-1], len(last.low))
        for number, (features, _, _) in enumerate(self._outer, 1):
            found = found.index_select(number, features.flatten()).unflatten(number, features.shape)
            found = found.any(number + 1)
        return found.flatten(1)

    def above(self, maps: Tensor, cutoffs: Tensor) -> Runs:
        """Where maps (p, *cells) exceed cutoffs (p,)."""
        may = maps > cutoffs.reshape(-1, *[1] * len(self.axes))
        for number, axis in enumerate(self.axes, 1):
            may = may.index_select(number, axis.low) | may.index_select(number, axis.high)
        which, *groups = may.nonzero(as_tuple=True)
        ends = [(axis.low[group], axis.high[group]) for axis, group in zip(self.axes, groups, strict=True)]
        values = torch.stack([self._at(maps, which, corner) for corner in product(*ends)], 1)
        values = values.reshape(-1, *[2] * len(self.axes))
        block, row, beyond = torch.zeros_like(which), torch.zeros_like(which), torch.zeros_like(which).bool()
        for number, (features, share, filled) in enumerate(self._outer, 1):
            group = groups[number - 1]
            shape = [len(which)] + [1] * len(self.axes)
            shape[number] = share.shape[1]
            low, high = (values.narrow(number, end, 1) for end in (0, 1))
            values = torch.lerp(low, high, share[group].reshape(shape).to(values))
            row = row[..., None] * self._spatial[number - 1] + features[group].reshape(shape[: number + 1])
            beyond = beyond[..., None] | filled[group].reshape(shape[: number + 1])
            block = block * len(features) + group
        block = block * len(self.axes[-1].low) + groups[-1]
        values, own = values.reshape(len(which), math.prod(values.shape[1:-1]), 2), cutoffs[which]
        line = ((values.amax(2) > own[:, None]) & ~beyond.reshape(values.shape[:2])).flatten().nonzero()[:, 0]
        of = line // values.shape[1]
        low, high = values.flatten(0, 1).index_select(0, line).unbind(1)
        starts, stops = self._ends(low, high, own[of], groups[-1][of])
        return Runs(which, block, of, row.flatten()[line], starts, stops)

    @staticmethod
    def _at(maps: Tensor, which: Tensor, corner: Sequence[Tensor]) -> Tensor:
        """Maps (p, *cells) of these numbers, each at its cell. One index is far faster than many."""
        place = which
        for cell, size in zip(corner, maps.shape[1:], strict=True):
            place = place * size + cell
        return maps.flatten()[place]

    def _ends(self, low: Tensor, high: Tensor, cutoffs: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """The first feature that exceeds its cutoff, and the one after the last, of lines between two values.

        At least one of the two values does.
        """
        last = self.axes[-1]
        starts, stops = last.starts[group], last.stops[group]
        falling = low > high
        # How far from the low cell a line meets its cutoff; a level one does at −∞, since all of it is above.
        low, high = low.to(last.share), high.to(last.share)
        met = (cutoffs - low) / (high - low)
        key = met.clamp(-0.5, 1.5) + 2 * group
        # It counts from the first share that is larger on, or up to the last that is smaller.
        key = torch.where(falling, key, key.nextafter(key.new_tensor(math.inf)))
        found = torch.searchsorted(self._keys, key)
        return torch.where(falling, starts, found), torch.where(falling, found, stops)
