"""Bets: against brute force, on rows that fool an asymptotic interval, and on those that do not."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from xattr_check.statistics.betting import BOLD, evidence, guarded
from xattr_check.statistics.intervals import Interval, mean_interval

Rows = Callable[[torch.Generator], Tensor]


def uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def loop(rows: Tensor, mean: float) -> tuple[float, float]:
    """Bet after bet: nothing is known of a row before it is seen."""
    up = down = 1.0
    for number, row in enumerate(rows.tolist()):
        seen = rows[:number]
        guess = (0.5 + float(seen.sum())) / (number + 1)
        centres = [(0.5 + float(seen[: k + 1].sum())) / (k + 2) for k in range(number)]
        spread = (0.25 + sum((float(x) - c) ** 2 for x, c in zip(seen, centres, strict=True))) / (number + 1)
        bet = (guess - mean) / (spread + (guess - mean) ** 2)
        up *= 1 + min(max(bet, 0.0), BOLD / mean) * (row - mean)
        down *= 1 + min(max(-bet, 0.0), BOLD / (1 - mean)) * (mean - row)
    return up, down


@pytest.mark.parametrize("mean", [0.1, 0.4, 0.9])
def test_evidence_by_a_loop(mean: float) -> None:
    rows = uniform(20, torch.Generator().manual_seed(0)) ** 2
    found = evidence(rows, torch.tensor([mean], dtype=torch.float64))[0]
    assert found.tolist() == pytest.approx(loop(rows, mean), rel=1e-9)


def rare(generator: torch.Generator) -> Tensor:
    return torch.where(uniform(128, generator) < 0.1, uniform(128, generator), 0.0)


def skewed(generator: torch.Generator) -> Tensor:
    return 1 - uniform(128, generator) ** 19  # a mean of 0.95, most of them 1


@pytest.mark.parametrize(("make", "mean"), [(rare, 0.05), (skewed, 0.95)])
def test_rare_rows_do_not_fool_it(make: Rows, mean: float) -> None:
    """Four looks at 32 to 128 rows, 400 runs: it misses where the asymptotic interval does, or less."""
    generator, missed, asymptotic = torch.Generator().manual_seed(0), 0, 0
    for _ in range(400):
        rows = make(generator)
        pairs = [
            (mean_interval(rows[:n]), guarded(mean_interval(rows[:n]), rows[:n], (0.0, 1.0)))
            for n in (32, 64, 96, 128)
        ]
        asymptotic += any(not one.low <= mean <= one.high for one, _ in pairs)
        missed += any(not one.low <= mean <= one.high for _, one in pairs)
    assert asymptotic >= 4
    assert missed <= 2


@pytest.mark.parametrize(
    ("level", "spread", "gate"), [(0.05, 0.05, 0.25), (0.375, 0.1, 0.25), (0.9, 0.05, 0.6), (0.0, 0.0, 0.25)]
)
def test_smooth_rows_are_decided_as_soon(level: float, spread: float, gate: float) -> None:
    for seed in range(20):
        noise = uniform(32, torch.Generator().manual_seed(seed)) - 0.5
        rows = (level + spread * noise).clamp(0, 1)
        found = guarded(mean_interval(rows), rows, (0.0, 1.0))
        assert found.high <= gate if level < gate else found.low > gate


def test_rows_of_no_spread_are_not_certain() -> None:
    found = guarded(mean_interval(torch.zeros(8)), torch.zeros(8), (0.0, 1.0))
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0.2 < found.high < 0.5


def test_what_has_no_bounds_is_left() -> None:
    rows = torch.arange(8.0)
    plain = mean_interval(rows)
    for bounds in ((-math.inf, math.inf), (0.0, 5.0)):
        assert guarded(plain, rows, bounds) == plain
    unknown = Interval(0.5, -math.inf, math.inf)
    assert guarded(unknown, torch.tensor([0.5]), (0.0, 1.0)) == unknown
