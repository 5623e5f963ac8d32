"""The exact interval of a share, by the sums of the binomial distribution itself."""

import math

import pytest

from xattr_check.statistics.binomial import binomial_interval


@pytest.mark.parametrize(("ones", "n"), [(0, 7), (3, 7), (7, 7), (19, 20)])
def test_each_end_leaves_half_of_the_rate_outside(ones: int, n: int) -> None:
    def chance(share: float, counts: range) -> float:
        return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in counts)

    found = binomial_interval(ones, n, 0.05)
    assert found.value == ones / n
    assert chance(found.low, range(ones, n + 1)) == pytest.approx(0.025 if ones else 1)
    assert chance(found.high, range(ones + 1)) == pytest.approx(0.025 if ones < n else 1)
