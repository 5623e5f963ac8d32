"""Bets against a mean: a guard for intervals of rows that lie within known bounds."""

import math

import torch
from torch import Tensor

from xattr_check.statistics.intervals import Interval

# Evidence that a decision needs: by chance alone, one sequence in twenty ever comes to as much.
ENOUGH = 20.0
# Share of what could be lost at once that is bet at most.
BOLD = 0.9
# How finely the ends of an interval are looked for.
STEPS = 64


def evidence(rows: Tensor, means: Tensor) -> Tensor:
    """(M, 2): what bets have grown to, on a mean above each of `means`, and below it.

    rows: (n,) in 0…1, in the order in which they were drawn. means: (M,) in 0…1.

    The bets of Section B.3 of [waudbysmith2024], an approximation of what grows fastest (aGRAPA): each is
    placed before its row is seen. Where the true mean is not above, the wealth is a supermartingale.
    """
    rows = rows.double()
    number = torch.arange(1, len(rows) + 1, dtype=torch.float64)
    # Of the rows before, and of one half before all.
    mean = torch.cat([rows.new_tensor([0.5]), (0.5 + rows.cumsum(0))[:-1] / number[1:]])
    squares = 0.25 + (rows - (0.5 + rows.cumsum(0)) / (number + 1)).square().cumsum(0)
    variance = torch.cat([rows.new_tensor([0.25]), squares[:-1] / number[1:]])
    gap = mean - means[:, None]
    wanted = gap / (variance + gap.square())
    distance = rows - means[:, None]
    up = wanted.clamp_min(0).minimum(BOLD / means[:, None].clamp_min(1e-12))
    down = (-wanted).clamp_min(0).minimum(BOLD / (1 - means[:, None]).clamp_min(1e-12))
    grown = [torch.log1p(bet * side) for bet, side in ((up, distance), (down, -distance))]
    return torch.stack([logs.sum(1).exp() for logs in grown], dim=1)


def guarded(interval: Interval, samples: Tensor, bounds: tuple[float, float]) -> Interval:
    """An interval of a mean, its ends moved outwards to where bets have enough evidence against them.

    samples: (n,). bounds: between which rows lie; nothing is known of rows of which one does not.

    An asymptotic interval is too narrow for skewed rows, of which the rare ones were not seen yet. Bets are
    not wrong more often than they say, and cost little where rows are smooth.
    """
    least, most = bounds
    size = most - least
    known = math.isfinite(size) and bool(((samples >= least) & (samples <= most)).all())
    if not known or not math.isfinite(interval.high - interval.low):
        return interval
    rows = (samples.double() - least) / size
    ends = ((interval.low - least) / size, (interval.high - least) / size)
    low, high = (_moved(rows, min(max(end, 0.0), 1.0), side) * size + least for side, end in enumerate(ends))
    # What lies beyond the bounds already stays there: it is told within them later.
    return Interval(interval.value, min(low, interval.low), max(high, interval.high))


def _moved(rows: Tensor, end: float, side: int) -> float:
    """The first mean outwards from an end against which there is enough evidence: 0 is low, 1 high."""
    if float(evidence(rows, rows.new_tensor([end]))[0, side]) >= ENOUGH:
        return end
    means = torch.linspace(end, side, STEPS, dtype=torch.float64)
    enough = (evidence(rows, means)[:, side] >= ENOUGH).nonzero()
    return float(means[int(enough[0])]) if len(enough) else float(side)
