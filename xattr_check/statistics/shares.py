"""Shares: how many rows in all are one, where those that were seen are 0 or 1."""

import bisect
import math

import torch
from scipy.special import betaln
from torch import Tensor

from xattr_check.statistics.intervals import Interval

# Prior weight of "none at all", and of "all": the rest is spread evenly. Without it, that nothing was seen
# would take twice as many rows to mean as much.
NONE = 0.45
# Rows of which more are no answer to how many would decide.
MOST = 2**17


def share_interval(samples: Tensor, error_rate: float, population: int | None = None) -> Interval:
    """The share of ones, with an interval that is exact and may be looked at after every row.

    samples: (n,) 0 or 1. population: how many rows there are, of which these were drawn without putting them
        back; None for infinitely many.

    The prior-posterior ratio of [waudbysmith2020], of which the inverse passes 1 / error_rate with that
    probability at most, for a prior that is half at the ends.
    """
    n, ones = len(samples), int(samples.sum())
    if population is not None and population >= n:
        low, high = _finite(ones, n, population, error_rate)
    else:
        low, high = _infinite(ones, n, error_rate)
    return Interval(ones / n, low, high)


def rows_to_decide(share: float, bound: float, error_rate: float) -> float:
    """About how many rows of such a share have an interval to one side of a bound; infinite beyond MOST."""

    def decided(count: int) -> bool:
        low, high = _infinite(round(share * count), count, error_rate)
        return not low < bound < high

    enough = next((2**power for power in range(MOST.bit_length()) if decided(2**power)), None)
    if enough is None:
        return math.inf
    return bisect.bisect_left(range(enough), True, lo=enough // 2, key=lambda count: decided(count))


def _finite(ones: int, n: int, population: int, error_rate: float) -> tuple[float, float]:
    """The smallest and the largest share of a finite population that is not excluded."""
    counts = torch.arange(population + 1, dtype=torch.float64)
    weights = torch.full_like(counts, (1 - 2 * NONE) / (population + 1)).index_add_(
        0, torch.tensor([0, population]), torch.full((2,), NONE, dtype=torch.float64)
    )
    likelihood = (
        _choose(counts, ones)
        + _choose(population - counts, n - ones)
        - _choose(torch.tensor(float(population), dtype=torch.float64), n)
    )
    evidence = torch.logsumexp(likelihood + weights.log(), 0)
    kept = counts[evidence - likelihood < -math.log(error_rate)]
    return float(kept.min()) / population, float(kept.max()) / population


def _choose(whole: Tensor, part: int) -> Tensor:
    """The logarithm of the number of ways to choose a part, -inf where there is none."""
    found = (whole + 1).lgamma() - math.lgamma(part + 1) - ((whole - part).clamp_min(0) + 1).lgamma()
    return torch.where(whole >= part, found, -math.inf)


def _infinite(ones: int, n: int, error_rate: float) -> tuple[float, float]:
    """The ends of the shares that are not excluded, by bisection to either side of the observed one."""
    mixed = math.log(1 - 2 * NONE) + float(betaln(ones + 1, n - ones + 1))
    if ones in (0, n):
        mixed = float(torch.logsumexp(torch.tensor([mixed, math.log(NONE)], dtype=torch.float64), 0))

    def excluded(share: float) -> bool:
        zeros = n - ones
        likely = (ones * math.log(share) if ones else 0.0) + (zeros * math.log1p(-share) if zeros else 0.0)
        return mixed - likely >= -math.log(error_rate)

    def end(inside: float, outside: float) -> float:
        for _ in range(50):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if excluded(middle) else (middle, outside)
        return outside

    observed = ones / n
    return (end(observed, 0.0) if ones else 0.0), (end(observed, 1.0) if ones < n else 1.0)
