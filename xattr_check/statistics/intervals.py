"""Confidence intervals: how sure a statistic is."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_check.imports import neutral_warnings

with neutral_warnings():
    from scipy.special import ndtri, stdtrit

# Nominally: one verdict in a thousand errs, and a battery of fifty checks once in twenty runs. Asymptotic, so
# that rows of which rare ones are far from the others err more often: `shares` and `betting` are for those.
ERROR_RATE = 0.001
# The number of rows for which the confidence sequence is made tightest: the first look.
FIRST_LOOK = 32

# How many numbers of resamples a batched statistic is given at once.
CHUNK = 2**21

Statistic = Callable[[Tensor], float]


@dataclass(frozen=True)
class Batched:
    """A statistic that takes many sets of rows at once, so that it is bootstrapped without a loop.

    function: (R, n, k) -> (R,), one number for each set of rows.
    """

    function: Callable[[Tensor], Tensor]

    def __call__(self, samples: Tensor) -> float:
        """The statistic of samples (n, k)."""
        return float(self.function(samples[None])[0])


@dataclass(frozen=True)
class Interval:
    """A statistic between the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def within(self, bounds: tuple[float, float]) -> "Interval":
        """The part of it that lies between bounds."""
        low, high = bounds
        return Interval(self.value, max(self.low, low), min(self.high, high))

    def __neg__(self) -> "Interval":
        return Interval(-self.value, -self.high, -self.low)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.value:.3g}"
        largest = max((abs(end) for end in (self.low, self.high) if math.isfinite(end)), default=1.0)
        # Three decimals, but where they would show nothing, or too much.
        form = ".3f" if 0.01 <= largest < 100 else ".3g"
        value, low, high = (f"{number:{form}}" for number in (self.value, self.low, self.high))
        return value if value == low == high else f"{value} [{low}, {high}]"


def exact(value: float) -> Interval:
    """A number without sampling error."""
    return Interval(value, value, value)


def mean_interval(samples: Tensor, error_rate: float = ERROR_RATE) -> Interval:
    """Mean of samples (n,), with an interval that may be looked at after every draw.

    The asymptotic confidence sequence of Theorem 2.2 of [waudbysmith2021], made tightest at the first
    look, widened by the ratio of Student's quantile to the normal one for the estimated deviation.
    """
    n = len(samples)
    value = float(samples.mean())
    if n < 2:
        return Interval(value, -math.inf, math.inf)
    deviation = float(samples.std())
    log_rate = -2 * math.log(error_rate)
    rho2 = (log_rate + math.log(log_rate + 1)) / FIRST_LOOK
    scale = 2 * (n * rho2 + 1) / (n * n * rho2) * math.log(math.sqrt(n * rho2 + 1) / error_rate)
    student = float(stdtrit(n - 1, error_rate / 2) / ndtri(error_rate / 2))
    half = deviation * student * math.sqrt(scale)
    return Interval(value, value - half, value + half)


def skewed_high(interval: Interval, samples: Tensor) -> float:
    """The upper end of an interval of the mean of samples (n,), moved out where their long tail is above.

    The inverse of the cubic transformation of [hall1992], which takes the skewness out of a Student ratio.
    The rows that were seen of a long tail foretell those that were not; nothing does where none was seen.
    """
    n = len(samples)
    centred = samples.double() - samples.double().mean()
    deviation = float(centred.square().mean().sqrt())
    if n < 2 or not deviation > 0 or not math.isfinite(interval.high):
        return interval.high
    skew = float((centred / deviation).pow(3).mean()) / math.sqrt(n)
    if skew <= 1e-6:
        return interval.high
    error = float(samples.std()) / math.sqrt(n)
    normal = (interval.high - interval.value) / error
    student = 3 * (1 - math.cbrt(1 - skew * (normal + skew / 6))) / skew
    return max(interval.high, interval.value + error * student)


def bootstrap_interval(
    samples: Tensor,
    statistic: Statistic,
    error_rate: float = ERROR_RATE,
    resamples: int = 4000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over the rows of samples (n, k); the resampling is the same for a seed.

    A statistic that is undefined on some resamples is taken over the others.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(samples), (resamples, len(samples)), generator=generator)
    if isinstance(statistic, Batched):
        parts = rows.split(max(1, CHUNK // samples.numel()))
        values = torch.cat([statistic.function(samples[part]) for part in parts]).double()
    else:
        values = torch.tensor([statistic(samples[row]) for row in rows], dtype=torch.float64)
    values = values[torch.isfinite(values)]
    if not len(values):
        return Interval(statistic(samples), -math.inf, math.inf)
    ends = torch.quantile(values, torch.tensor([error_rate / 2, 1 - error_rate / 2], dtype=torch.float64))
    return Interval(statistic(samples), float(ends[0]), float(ends[1]))
