"""Where maps of a few cells exceed a value, at all features: only there it is computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor


@dataclass(frozen=True)
class Axis:
    """The features along an axis in groups, each between the same two cells.

    low, high: (G,) int64, the cells of each group. features: (G, W) int64, which they are; inside: (G, W)
    bool, False for what only fills a group up. share: (G, W), how near each is to the high cell.
    """

    low: Tensor
    high: Tensor
    features: Tensor
    inside: Tensor
    share: Tensor

    @cached_property
    def is_full(self) -> bool:
        """Whether no group is filled up."""
        return bool(self.inside.all())

    @classmethod
    def of(cls, cells: int, features: int, like: Tensor) -> "Axis":
        """So many features over so many cells, whose middles lie in the middle of theirs."""
        # In float64: so that a feature that lies on a cell has a share of 0 or 1.
        places = (torch.arange(features, dtype=torch.float64) + 0.5) * cells / features - 0.5
        low = places.clamp_min(0).floor().long().clamp_max(cells - 1)
        # Beyond the outer cells a map is what it is on them; groups of their own keep all groups short.
        key = torch.where(places < 0, -1, low)
        groups = [(key == one).nonzero()[:, 0] for one in key.unique()]
        width = max(map(len, groups))
        index = torch.stack([torch.cat([one, one[-1:].expand(width - len(one))]) for one in groups])
        inside = torch.stack([torch.arange(width) < len(one) for one in groups])
        lows = low[index[:, 0]]
        share = (places[index] - lows[:, None]).clamp(0, 1)
        high, device = (lows + 1).clamp_max(cells - 1), like.device
        return cls(lows.to(device), high.to(device), index.to(device), inside.to(device), share.to(like))


class Blocks:
    """The features of inputs in blocks, each between the same cells of a layer.

    A map that is linear between its cells exceeds a value within a block only if it does on a cell at one of
    its corners, so that most blocks of most maps need not be computed.

    cells, spatial: how many there are along each axis. like: a tensor of the maps' type, on their device.
    """

    def __init__(self, cells: Sequence[int], spatial: Sequence[int], like: Tensor) -> None:
        self.axes = [Axis.of(*counts, like) for counts in zip(cells, spatial, strict=True)]

    def of_masks(self, masks: Tensor) -> Tensor:
        """(n, B, W): masks (n, *spatial) bool by blocks; False where a block is filled up."""
        found = masks
        for number, axis in enumerate(self.axes):
            along = 1 + 2 * number
            size = [1] * found.ndim
            size[along : along + 1] = axis.features.shape
            found = found.index_select(along, axis.features.flatten()).unflatten(along, axis.features.shape)
            found = found & axis.inside.reshape(size)
        order = range(1, 1 + 2 * len(self.axes))
        return found.permute(0, *order[::2], *order[1::2]).flatten(1 + len(self.axes)).flatten(1, -2)

    def above(self, maps: Tensor, cutoffs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where maps (p, *cells) exceed cutoffs (p,), in the blocks in which they may.

        Returns the map (m,) and the block (m,) of each of these, int64, and the features there, (m, W) bool.
        """
        may = maps > cutoffs.reshape(-1, *[1] * len(self.axes))
        for number, axis in enumerate(self.axes, 1):
            may = may.index_select(number, axis.low) | may.index_select(number, axis.high)
        which, *groups = may.nonzero(as_tuple=True)
        ends = [(axis.low[group], axis.high[group]) for axis, group in zip(self.axes, groups, strict=True)]
        values = torch.stack([maps[(which, *corner)] for corner in product(*ends)], 1)
        values = values.reshape(-1, *[2] * len(self.axes))
        block, filled = torch.zeros_like(which), []
        for number, (axis, group) in enumerate(zip(self.axes, groups, strict=True), 1):
            shape = [len(which)] + [1] * len(self.axes)
            shape[number] = axis.share.shape[1]
            low, high = (values.narrow(number, end, 1) for end in (0, 1))
            values = torch.lerp(low, high, axis.share[group].reshape(shape))
            filled.append(axis.inside[group].reshape(shape))
            block = block * len(axis.low) + group
        marks = values > cutoffs[which].reshape(-1, *[1] * len(self.axes))
        for inside, axis in zip(filled, self.axes, strict=True):
            if not axis.is_full:
                marks &= inside
        return which, block, marks.flatten(1)
