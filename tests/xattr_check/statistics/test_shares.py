"""Shares: exact for few rows, for rare ones, and where all there are were seen."""

import math

import pytest
import torch
from scipy.stats import hypergeom
from torch import Tensor

from xattr_check.statistics.shares import NONE, rows_to_decide, share_interval


def rows(ones: int, n: int) -> Tensor:
    return (torch.arange(n) < ones).double()


def brute_force(ones: int, n: int, population: int, rate: float) -> tuple[float, float]:
    """Every number of ones in a population whose posterior has not fallen below its prior by the rate."""
    prior = [(1 - 2 * NONE) / (population + 1) + NONE * (k in (0, population)) for k in range(population + 1)]
    likely = [float(hypergeom.pmf(ones, population, k, n)) for k in range(population + 1)]
    total = sum(p * one for p, one in zip(prior, likely, strict=True))
    kept = [k for k, one in enumerate(likely) if one > 0 and total / one < 1 / rate]
    return min(kept) / population, max(kept) / population


@pytest.mark.parametrize(("ones", "n", "population"), [(0, 8, 60), (3, 20, 60), (20, 20, 33), (1, 32, 400)])
def test_a_finite_population_by_brute_force(ones: int, n: int, population: int) -> None:
    found = share_interval(rows(ones, n), 0.001, population)
    assert (found.low, found.high) == pytest.approx(brute_force(ones, n, population, 0.001))
    assert found.value == ones / n


def test_what_was_seen_as_a_whole_is_known() -> None:
    found = share_interval(rows(3, 20), 0.001, 20)
    assert (found.low, found.value, found.high) == (0.15, 0.15, 0.15)


def test_many_are_as_infinitely_many() -> None:
    for ones, n in ((0, 8), (5, 30), (64, 64)):
        many, infinite = share_interval(rows(ones, n), 0.001, 100_000), share_interval(rows(ones, n), 0.001)
        assert many.low == pytest.approx(infinite.low, abs=2e-3)
        assert many.high == pytest.approx(infinite.high, abs=2e-3)


def test_nothing_seen_is_no_certainty() -> None:
    """Of eight rows without a failure as many as six in ten might fail; 75 show that one in ten does not."""
    assert 0.58 < share_interval(rows(0, 8), 0.001).high < 0.65
    assert share_interval(rows(0, 75), 0.001).high <= 0.1 < share_interval(rows(0, 72), 0.001).high
    assert share_interval(rows(8, 8), 0.001).low == pytest.approx(1 - share_interval(rows(0, 8), 0.001).high)


@pytest.mark.parametrize("share", [0.01, 0.06, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("population", [None, 200])
def test_it_errs_no_more_often_than_it_says(share: float, population: int | None) -> None:
    """Looked at after every row of 100, in 500 runs at one in fifty."""
    rate, wrong = 0.02, 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(500 if population is None else 200):
        if population is None:
            drawn = (torch.rand(100, generator=generator) < share).double()
        else:
            whole = rows(round(share * population), population)
            drawn = whole[torch.randperm(population, generator=generator)[:100]]
        looks = (share_interval(drawn[:n], rate, population) for n in (1, 4, 8, 16, 32, 64, 100))
        wrong += any(not one.low - 1e-9 <= share <= one.high + 1e-9 for one in looks)
    assert wrong / (500 if population is None else 200) <= rate + 3 * math.sqrt(rate / 200)


@pytest.mark.parametrize(("share", "bound"), [(0, 0.1), (0.02, 0.1), (0.5, 0.1), (1, 0.9), (0.97, 0.9)])
def test_so_many_rows_decide_and_half_as_many_do_not(share: float, bound: float) -> None:
    def decided(count: int) -> bool:
        rows = torch.arange(count) < round(share * count)
        found = share_interval(rows.double(), 1e-3)
        return found.high <= bound or found.low >= bound

    needed = rows_to_decide(share, bound, 1e-3)
    assert decided(int(needed))
    assert not decided(int(needed) // 2)
    assert rows_to_decide(0.1, 0.1, 1e-3) == math.inf
