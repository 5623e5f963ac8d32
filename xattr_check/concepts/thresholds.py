"""Above which value a unit is on: a quantile over all inputs and places, of which a tail is kept."""

import math

import torch
from torch import Tensor

from xattr_check.errors import ConceptError

# Values above the threshold that are kept of a unit: where there would be more, it is that of places drawn at
# random, and the share above it is then known to within a hundredth of itself.
CAPACITY = 2**14


class Tails:
    """The highest values of each unit among all that come, and the highest below them.

    share: of all places, on which a unit is on. places: how many will come of each unit.
    Raises ConceptError where there are so few that none of them is the share.
    """

    def __init__(self, share: float, places: int, capacity: int = CAPACITY) -> None:
        self._all = places
        self._taken = places // max(1, math.ceil(share * places / capacity))
        self.above = int(share * self._taken * (1 + 1e-12))  # so that 0.005 · 200 is 1
        if self.above < 1:
            raise ConceptError(
                option="quantile",
                value=share,
                expected=f"at least {math.ceil(1 / share)} places of a unit, on all inputs together",
                came=str(places),
            )
        self._generator = torch.Generator().manual_seed(0)
        self._seen = 0
        self._highest: Tensor | None = None
        self._next: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Take in values (K, n) of the units."""
        values = self._drawn(values)
        if self._highest is None or self._next is None:
            self._highest = values[:, :0]
            self._next = torch.full_like(values[:, 0], -math.inf)
        together = torch.cat([self._highest, values], 1)
        self._highest = together.topk(min(self.above, together.shape[1]), sorted=False).values
        lowest = self._highest.amin(1, keepdim=True)
        below = torch.where(together < lowest, together, -math.inf).amax(1)
        self._next = torch.maximum(self._next, below)

    def _drawn(self, values: Tensor) -> Tensor:
        """Those of the values that count, at the same places of all units."""
        if self._taken == self._all:
            return values
        before, self._seen = self._seen, self._seen + values.shape[1]
        count = self._seen * self._taken // self._all - before * self._taken // self._all
        places = torch.randperm(values.shape[1], generator=self._generator)[:count]
        return values[:, places.to(values.device)]

    def thresholds(self) -> Tensor:
        """(K,): halfway between the last value that is on, and the next below it.

        So a unit that has few values, such as a copy of a mask, is on where it has the highest of them,
        whatever the rounding. −∞ for one that has one value alone.
        """
        if self._highest is None or self._next is None:
            raise ConceptError(expected="inputs with N ≥ 1", came="none")
        lowest = self._highest.amin(1)
        halfway = self._next + (lowest - self._next) / 2
        return torch.where(halfway < lowest, halfway, self._next)
