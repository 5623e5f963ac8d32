"""The share of ones among a number of rows that was fixed before."""

from scipy.special import betaincinv

from xattr_check.statistics.intervals import Interval


def binomial_interval(ones: int, n: int, error_rate: float) -> Interval:
    """The share of ones among n rows with its exact interval, looked at once: Clopper's and Pearson's.

    Each end is the share at which so many ones, or more extreme numbers of them, have half of the rate.
    """
    low = float(betaincinv(ones, n - ones + 1, error_rate / 2)) if ones else 0.0
    high = float(betaincinv(ones + 1, n - ones, 1 - error_rate / 2)) if ones < n else 1.0
    return Interval(ones / n, low, high)
