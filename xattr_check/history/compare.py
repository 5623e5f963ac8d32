"""Two runs side by side: what changed, by how much, and whether that is more than chance."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xattr_check.core import registry
from xattr_check.core.checks import Axiom
from xattr_check.core.verdict import Key, Verdict
from xattr_check.statistics.intervals import Batched, Interval, exact

# Of what is called worse or better, and of the interval of a difference; and exchanges, whose number bounds p
# from below.
ERROR_RATE, EXCHANGES = 0.01, 9999
# What is smaller, as a share of the figures or of the gate, is rounding: another order of summation, another
# number of threads. Controls, which no method changes, may differ by ten times as much.
NEGLIGIBLE = 1e-3
# How many numbers are exchanged at once.
CHUNK = 2**21

Runs = Mapping[Key, Verdict]


@dataclass(frozen=True)
class Change:
    """One check of one method in two runs.

    difference: after minus before on the draws that both have, with its interval at ERROR_RATE: it leaves out
        0 where p, before any correction, is below that rate.
    p: two-sided, of the hypothesis that before and after may be exchanged in every row.
    corrected: p among those of the other checks of the method on that subject.
    reason: why the figures cannot be compared, or an empty string; the statuses can all the same.
    rows: how many rows the difference is over.
    """

    before: Verdict
    after: Verdict
    difference: Interval | None = None
    p: float = math.nan
    reason: str = ""
    rows: int = 0
    corrected: float = math.nan

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
        """Whether it is worse or better by more than chance, among all checks of the method."""
        return bool(self.worse) and self.corrected < ERROR_RATE

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
    """What both runs judged, in the order of the second."""
    known = _rename(before, after)
    changes = [_change(known[key], after[key]) for key in after if key in known]
    p_values = correct_p_values(changes)
    return [replace(one, corrected=p_values.get(place, math.nan)) for place, one in enumerate(changes)]


def _rename(before: Runs, after: Runs) -> Runs:
    """The run before, under the keys of the one after where each has one subject, and it is another one.

    Figures are not compared then, and each row says why; statuses are all the same.
    """
    were, are = ({key.subject for key in run} for run in (before, after))
    if len(were) != 1 or len(are) != 1:
        return before
    return {replace(key, subject=next(iter(are))): verdict for key, verdict in before.items()}


def correct_p_values(changes: Sequence[Change]) -> dict[int, float]:
    """p-values of the changes by their place, corrected by Holm for the checks of one method on one subject.

    [holm1979]

    A figure that is the same in every row, or that is exact, leaves nothing to chance: it has its p, and does
    not count among the others. [tarone1990]
    """
    found = {place: one.p for place, one in enumerate(changes) if one.exact}
    groups: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(changes):
        if one.p == one.p and not one.exact:
            groups.setdefault((one.after.subject, one.after.method), []).append(place)
    for own in groups.values():
        own.sort(key=lambda i: changes[i].p)
        least = 0.0
        for rank, place in enumerate(own):
            least = max(least, min(1.0, changes[place].p * (len(own) - rank)))
            found[place] = least
    return found


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
    difference, p = _test(rows, gap)
    return Change(before, after, difference, p, rows=len(rows))


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


def _test(rows: Tensor, gap: Callable[[Tensor], Tensor]) -> tuple[Interval, float]:
    """The difference between before and after in rows (n, 2, …), with its interval and p.

    p is the share of random exchanges, row by row, that make as large a difference. The interval has the
    differences that the same test leaves: its ends are quantiles of the mean differences of the rows that
    each exchange takes, and that it leaves [hartigan1969]. Exact for means, and for other statistics as far
    as they are linear in their rows. With fewer than 8 rows both ends are infinite.
    """
    found = float(gap(rows[None])[0])
    if math.isnan(found):
        return Interval(found, -math.inf, math.inf), math.nan
    share, made = _exchange(rows, gap)
    # Sums in another order differ by rounding.
    made = torch.where((made.abs() - abs(found)).abs() <= 1e-9 * abs(found), made.sign() * abs(found), made)
    p = (int((made.abs() >= abs(found)).sum()) + 1) / (EXCHANGES + 1)
    means = torch.cat([(found - made) / (2 * share), (found + made) / (2 * (1 - share))])
    # The mean of no row at all is anything.
    none = torch.cat([share == 0, share == 1])
    low, high = _lowest(means.where(~none, -math.inf)), -_lowest((-means).where(~none, -math.inf))
    return Interval(found, min(low, found), max(high, found)), p


def _lowest(means: Tensor) -> float:
    """The largest number below which so few of means lie that p would be below ERROR_RATE."""
    known = means[~means.isnan()]
    rank = round(ERROR_RATE * (EXCHANGES + 1)) - 1
    return float(known.kthvalue(rank).values) if len(known) >= rank else -math.inf


def _exchange(rows: Tensor, gap: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Random exchanges of before and after in rows (n, 2, …).

    (R,) the share of rows in each exchange, and (R,) the difference that it makes.
    """
    generator = torch.Generator().manual_seed(0)
    exchanged, shares, gaps, left = rows.flip(1), [], [], EXCHANGES
    while left:
        count = min(left, max(1, CHUNK // rows.numel()))
        swap = torch.rand(count, len(rows), generator=generator) < 0.5
        shares.append(swap.double().mean(1))
        swap = swap.reshape(count, len(rows), *[1] * (rows.ndim - 1))
        gaps.append(gap(torch.where(swap, exchanged, rows)).double())
        left -= count
    return torch.cat(shares), torch.cat(gaps)
