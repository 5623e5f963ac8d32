"""Means over inputs that can be subtracted: figures of the same inputs, and what lies between them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from xattr_check.statistics.intervals import Batched, Interval, bootstrap_interval

ERROR_RATE = 0.05


@dataclass(frozen=True, eq=False)
class Figure:
    """A ratio of sums over inputs, by default a mean.

    parts: (n,) float64, what each input adds above the line. wholes: (n,) what it adds below: 1 for a mean,
        0, with a part of 0, for an input that does not count.
    """

    parts: Tensor
    wholes: Tensor

    @classmethod
    def mean(cls, values: Tensor) -> "Figure":
        """Of values (n,), those that are NaN left out."""
        known = ~values.isnan()
        return cls(values.double().nan_to_num(0.0).where(known, 0.0), known.double())

    @property
    def count(self) -> int:
        """How many inputs count."""
        return int((self.wholes != 0).sum())

    @cached_property
    def interval(self) -> Interval:
        """The figure, with its interval at 95 % over inputs; one that counts says nothing of others."""
        rows = torch.stack([self.parts, self.wholes], 1)
        if self.count < 2:
            return Interval(float(_ratio(rows[None])), -math.inf, math.inf)
        return _bootstrapped(rows, Batched(_ratio))

    def minus(self, other: "Figure") -> Interval:
        """By how much it is above another of the same inputs, with an interval over them."""
        both = torch.stack([self.parts, self.wholes, other.parts, other.wholes], 1)
        return _bootstrapped(both, Batched(lambda rows: _ratio(rows[..., :2]) - _ratio(rows[..., 2:])))

    def document(self) -> Mapping[str, float | list[float] | None]:
        """For machines: the value and the ends of its interval, None for what is not known."""
        found = self.interval
        known = math.isfinite(found.low) and math.isfinite(found.high)
        return {
            "value": found.value if self.count else None,
            "interval": [found.low, found.high] if known else None,
        }


def _ratio(rows: Tensor) -> Tensor:
    """(R,) sums of rows (R, n, 2), the first over the second; NaN for 0/0."""
    above, below = rows.sum(1).unbind(-1)
    return above / below


def _bootstrapped(rows: Tensor, statistic: Batched) -> Interval:
    return bootstrap_interval(rows.cpu(), statistic, ERROR_RATE, resamples=2000)
