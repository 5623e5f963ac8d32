"""Two runs side by side: what changed, by how much, and whether that is more than chance."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_check.core import registry
from xattr_check.core.checks import Axiom
from xattr_check.core.verdict import Verdict
from xattr_check.statistics.intervals import Batched, Interval, bootstrap_interval, exact

# Of the interval of a difference; and exchanges, whose number bounds p from below.
ERROR_RATE, EXCHANGES = 0.01, 9999
# What is smaller, as a share of the figures or of the gate, is rounding: another order of summation, another
# number of threads. Controls, which no method changes, may differ by ten times as much.
NEGLIGIBLE = 1e-3
# How many numbers are exchanged at once.
CHUNK = 2**21

Runs = Mapping[tuple[str, str], Verdict]


@dataclass(frozen=True)
class Change:
    """One check of one method in two runs.

    difference: after minus before on the draws that both have, with its interval at ERROR_RATE.
    p: two-sided, of the hypothesis that before and after may be exchanged in every row.
    reason: why the figures cannot be compared, or an empty string; the statuses can all the same.
    rows: how many rows the difference is over.
    """

    before: Verdict
    after: Verdict
    difference: Interval | None = None
    p: float = math.nan
    reason: str = ""
    rows: int = 0

    @property
    def worse(self) -> float:
        """By how much the figure got worse, negative where it got better; 0 where that is rounding."""
        if self.difference is None or self.before.interval is None:
            return 0.0
        found = self.difference.value
        largest = max(abs(self.before.interval.value), abs(self.before.interval.value + found))
        if abs(found) <= NEGLIGIBLE * max(largest, self.after.scale):
            return 0.0
        return found if self.after.better == "lower" else -found

    @property
    def exact(self) -> bool:
        """Whether chance has no part in it: the rows are the same, or the statistic is exact."""
        found = self.difference
        return found is not None and found.low == found.high and self.p in (0.0, 1.0)

    @property
    def same(self) -> bool:
        """Whether nothing changed but by rounding."""
        return not self.worse and not self.reason and self.before.status == self.after.status

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference leaves out that there is none."""
        found = self.difference
        return found is not None and bool(self.worse) and not found.low <= 0 <= found.high

    @property
    def difference_text(self) -> str:
        """The difference in words; on which rows, where it need not be that of the figures."""
        if self.difference is None or not self.worse:
            return ""
        way = ("worse" if self.worse > 0 else "better") if self.clear else "not clear"
        partly = self.rows < max(self.before.n, self.after.n)
        where = f", on the {self.rows} rows of both" if partly else ""
        return f"{self.difference} {way} ({self.after.better} is better{where})"

    @property
    def share(self) -> float:
        """By how much it got worse, as a share of what it was."""
        if not self.worse or self.before.interval is None:
            return 0.0
        was = abs(self.before.interval.value)
        return self.worse / was if was else math.copysign(math.inf, self.worse)


def compare(before: Runs, after: Runs) -> list[Change]:
    """What both runs judged, in the order of the second. Verdicts by method and check."""
    return [_change(before[key], after[key]) for key in after if key in before]


def _change(before: Verdict, after: Verdict) -> Change:
    # Parameters do not change the statistic.
    check = registry.checks().get(after.check.partition("?")[0])
    if before.subject != after.subject:
        return Change(
            before, after, reason=f"before it was judged on {before.subject!r}, now on {after.subject!r}"
        )
    if check is None or before.interval is None or after.interval is None:
        return Change(before, after)
    if reason := _incomparable(before, after):
        return Change(before, after, reason=reason)
    common = [seed for seed in after.draws if seed in before.draws]
    rows = torch.cat([torch.stack([before.draws[s].rows, after.draws[s].rows], dim=1) for s in common])
    gap = _gap(check)
    if torch.equal(rows[:, 0], rows[:, 1]):
        return Change(before, after, exact(0.0), 1.0, rows=len(rows))
    if check.statistic == "max":
        return Change(before, after, exact(float(gap(rows[None])[0])), 0.0, rows=len(rows))
    found = bootstrap_interval(rows, Batched(gap), ERROR_RATE)
    return Change(before, after, found, _p(rows, gap), rows=len(rows))


def _incomparable(before: Verdict, after: Verdict) -> str:
    """Why the figures of two verdicts say nothing about each other, or an empty string."""
    if not before.draws:
        return "the earlier run kept no rows: it was saved by an earlier version"
    if before.fingerprint != after.fingerprint:
        return f"another subject: the model or the data of {after.subject!r} changed"
    common = [seed for seed in after.draws if seed in before.draws]
    if not common:
        return "another seed: the runs have no draw in common"
    for seed in common:
        one, other = before.draws[seed], after.draws[seed]
        if one.rows.shape != other.rows.shape:
            return "the check measures otherwise now"
        for name in one.controls.keys() & other.controls.keys():
            was, now = one.controls[name], other.controls[name]
            if abs(was - now) > 10 * NEGLIGIBLE * max(abs(was), abs(now), after.scale):
                return f"the check measures otherwise now: control {name!r} had {was:.3g} and has {now:.3g}"
    if not any(draw.controls for draw in after.draws.values()) and before.code != after.code:
        return "the check's source changed, and it has no controls that show whether that matters"
    return ""


def _gap(check: Axiom) -> Callable[[Tensor], Tensor]:
    """The statistic after minus that before, of rows (R, n, 2, …) -> (R,)."""

    def value(rows: Tensor) -> Tensor:
        if check.statistic == "mean":
            return rows.flatten(1).mean(1)
        if check.statistic == "max":
            return rows.flatten(1).amax(1)
        if isinstance(check.statistic, Batched):
            return check.statistic.function(rows)
        return torch.tensor([check.value(one) for one in rows], dtype=torch.float64)

    return lambda rows: value(rows[:, :, 1]) - value(rows[:, :, 0])


def _p(rows: Tensor, gap: Callable[[Tensor], Tensor]) -> float:
    """The share of random exchanges of before and after, row by row, that make as large a difference."""
    generator = torch.Generator().manual_seed(0)
    # Sums in another order differ by rounding.
    observed = float(gap(rows[None])[0].abs()) * (1 - 1e-9)
    exchanged, extreme, left = rows.flip(1), 0, EXCHANGES
    while left:
        count = min(left, max(1, CHUNK // rows.numel()))
        swap = torch.rand(count, len(rows), generator=generator) < 0.5
        swap = swap.reshape(count, len(rows), *[1] * (rows.ndim - 1))
        extreme += int((gap(torch.where(swap, exchanged, rows)).abs() >= observed).sum())
        left -= count
    return (extreme + 1) / (EXCHANGES + 1)
