"""Gates: where a statistic has to lie. They judge intervals, never bare numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from xattr_check.statistics.intervals import ERROR_RATE, Interval

Outcome = Literal["pass", "fail", "undecided"]
Better = Literal["lower", "higher"]
Estimate = Callable[[Tensor, float], Interval]
# Widens an interval of rows by what rare ones could be that were not seen; the rows may be differences.
Guard = Callable[[Interval, Tensor, bool], Interval]


def unguarded(interval: Interval, samples: Tensor, paired: bool) -> Interval:
    """The interval as it is."""
    return interval


@dataclass(frozen=True)
class Shortfall:
    """What an undecided judgement lacks.

    gap: from the figure to the gate; beside a control, from the difference to the margin.
    half_width: how far the interval reaches from the figure to the gate's side.
    rows: about how many would decide, where widths fall as one over their root; infinite for no gap.
    """

    gap: float
    half_width: float
    rows: float


@dataclass(frozen=True)
class Judgement:
    """What a gate says: the outcome, the statistic, and the control that decided, if one did.

    line: what the interval has to clear: the bound, or the margin beside each control.
    rival, difference: the control or the reference that decides, or that would, and the difference from it.
    """

    outcome: Outcome
    interval: Interval
    line: float
    rival: str | None = None
    difference: Interval | None = None

    def shortfall(self, rows: int) -> Shortfall | None:
        """What is missing after so many rows, None where nothing is, or where no number of rows tells."""
        lacks = _shortfall(self.difference or self.interval, self.line, rows)
        return lacks if self.outcome == "undecided" and math.isfinite(lacks.half_width) else None


def _shortfall(deciding: Interval, line: float, rows: int) -> Shortfall:
    """What an interval lacks to clear a line."""
    gap = abs(deciding.value - line)
    half = deciding.high - deciding.value if deciding.value < line else deciding.value - deciding.low
    return Shortfall(gap, half, rows * (half / gap) ** 2 if gap > 0 else math.inf)


class Gate(Protocol):
    """Decides on the samples of a method, (n,) or (n, k), beside those of its controls on the same draws."""

    @property
    def better(self) -> Better:
        """Which figures are better."""
        ...

    @property
    def scale(self) -> float:
        """The bound, or the margin, or the share of the way: what a difference is large against."""
        ...

    @property
    def bound(self) -> float | None:
        """Where the statistic itself has to lie, infinite where it is only reported; None beside controls."""
        ...

    @property
    def references(self) -> tuple[str, ...]:
        """Names of the methods that are measured beside it, as the measure of what can be had."""
        ...

    def judge(
        self,
        samples: Tensor,
        controls: Mapping[str, Tensor],
        estimate: Estimate,
        guard: Guard = unguarded,
        best: Tensor | None = None,
    ) -> Judgement:
        """Pass, fail or undecided, at ERROR_RATE; best: (n,) or (1,), the best that any map could reach."""
        ...


@dataclass(frozen=True)
class AtMost:
    """The statistic is at most a bound; without one, for infinity, it is reported and passes."""

    bound: float
    better: ClassVar[Better] = "lower"
    references: ClassVar[tuple[str, ...]] = ()

    @property
    def scale(self) -> float:
        """The bound, 0 where there is none."""
        return abs(self.bound) if math.isfinite(self.bound) else 0.0

    def __str__(self) -> str:
        return "none" if self.bound == math.inf else f"≤ {self.bound:g}"

    def judge(
        self,
        samples: Tensor,
        controls: Mapping[str, Tensor],
        estimate: Estimate,
        guard: Guard = unguarded,
        best: Tensor | None = None,
    ) -> Judgement:
        """Pass where the whole interval is at or below the bound, fail where it is above."""
        interval = guard(estimate(samples, ERROR_RATE), samples, False)
        outcome: Outcome = "undecided"
        if interval.high <= self.bound:
            outcome = "pass"
        elif interval.low > self.bound:
            outcome = "fail"
        return Judgement(outcome, interval, self.bound)


@dataclass(frozen=True)
class AtLeast:
    """The statistic is at least a bound; without one, for minus infinity, it is reported and passes."""

    bound: float
    better: ClassVar[Better] = "higher"
    references: ClassVar[tuple[str, ...]] = ()

    @property
    def scale(self) -> float:
        """The bound, 0 where there is none."""
        return abs(self.bound) if math.isfinite(self.bound) else 0.0

    def __str__(self) -> str:
        return "none" if self.bound == -math.inf else f"≥ {self.bound:g}"

    def judge(
        self,
        samples: Tensor,
        controls: Mapping[str, Tensor],
        estimate: Estimate,
        guard: Guard = unguarded,
        best: Tensor | None = None,
    ) -> Judgement:
        """Pass where the whole interval is at or above the bound, fail where it is below."""
        interval = guard(estimate(samples, ERROR_RATE), samples, False)
        outcome: Outcome = "undecided"
        if interval.low >= self.bound:
            outcome = "pass"
        elif interval.high < self.bound:
            outcome = "fail"
        return Judgement(outcome, interval, self.bound)


@dataclass(frozen=True)
class _Beside:
    """A gate that lies elsewhere on every subject: beside what others come to on the same draws."""

    by: float
    lower: bool = False

    @property
    def better(self) -> Better:
        """As `lower` says."""
        return "lower" if self.lower else "higher"

    @property
    def scale(self) -> float:
        """The margin."""
        return abs(self.by)

    @property
    def bound(self) -> None:
        """None: where the others lie is another matter on every subject."""
        return None


@dataclass(frozen=True)
class Beats(_Beside):
    """The statistic beats that of every negative control, on the same draws, by a share of the way.

    The way is what lies between a control and the best that any map could reach on the same inputs: a margin
    that is the same number on all subjects would be out of reach on some of them, and nothing on others.

    by: the smallest share of the way that matters; below it, a method is no better than its control.
    lower: whether lower is better.
    """

    references: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        return f"{100 * self.by:g} % of the way {'below' if self.lower else 'above'} every control"

    def ahead(self, rival: Tensor, best: Tensor) -> Tensor:
        """(n,): what has to be beaten in each row, a share of the way from a control's to the best."""
        return torch.lerp(rival, best.expand_as(rival), self.by)

    def judge(
        self,
        samples: Tensor,
        controls: Mapping[str, Tensor],
        estimate: Estimate,
        guard: Guard = unguarded,
        best: Tensor | None = None,
    ) -> Judgement:
        """Pass where it beats all of them, fail where it does not beat one of them.

        best: needed. What is judged are differences from controls that went so much of the way themselves.
        The error rate is shared among the controls, since any one of them can fail the method.
        """
        if best is None:
            raise ValueError("expected the best that any map could reach, of which the margin is a share")
        interval = guard(estimate(samples, ERROR_RATE), samples, False)
        sign = -1.0 if self.lower else 1.0
        ahead = {name: self.ahead(rival, best) for name, rival in controls.items()}
        leads = {name: sign * (samples - rows) for name, rows in ahead.items()}
        gaps = {
            name: guard(estimate(rows, ERROR_RATE / len(controls)), rows, True)
            for name, rows in leads.items()
        }

        def judged(outcome: Outcome, rival: str) -> Judgement:
            margin = sign * float((ahead[rival] - controls[rival]).mean())
            return Judgement(outcome, interval, margin, rival, _moved(gaps[rival], margin))

        lowest = min(gaps, key=lambda name: gaps[name].low)
        if gaps[lowest].low > 0:
            return judged("pass", lowest)
        worst = min(gaps, key=lambda name: gaps[name].high)
        if gaps[worst].high <= 0:
            return judged("fail", worst)
        return judged("undecided", self._pending(gaps))

    def _pending(self, gaps: Mapping[str, Interval]) -> str:
        """The control that decides in the end: the first not to be beaten, or the last to be."""
        rows = {name: _shortfall(gap, 0.0, 1).rows for name, gap in gaps.items()}
        unbeaten = [name for name, gap in gaps.items() if gap.value <= 0]
        return min(unbeaten, key=rows.__getitem__) if unbeaten else max(rows, key=rows.__getitem__)


def _moved(interval: Interval, by: float) -> Interval:
    """An interval that lies by so much higher."""
    return Interval(interval.value + by, interval.low + by, interval.high + by)


@dataclass(frozen=True)
class Within(_Beside):
    """The statistic is at most a margin worse than that of one of the references, on the same draws.

    References are right methods, and no controls: what they come to says what can be had on a subject.
    by: the largest difference that does not matter.
    of: names of the references; it is enough to be near the worst of them.
    lower: whether lower is better.
    """

    of: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """As `of` says."""
        return self.of

    def __str__(self) -> str:
        return f"≤ {self.by:g} {'above' if self.lower else 'below'} {' or '.join(self.of)}"

    def judge(
        self,
        samples: Tensor,
        controls: Mapping[str, Tensor],
        estimate: Estimate,
        guard: Guard = unguarded,
        best: Tensor | None = None,
    ) -> Judgement:
        """Pass where it is near one of the references, fail where it is worse than all of them.

        controls: samples of the references that were asked, and no others. The error rate is shared among
        all of them, since any one can pass the method. Nothing is guarded: rows that are means over inputs
        are not skewed.
        """
        sign = -1.0 if self.lower else 1.0
        rate = ERROR_RATE / max(len(self.of), len(controls))
        gaps = {name: estimate(sign * (samples - reference), rate) for name, reference in controls.items()}
        outcome, nearest = _beside_references(gaps, -self.by)
        return Judgement(outcome, estimate(samples, ERROR_RATE), -self.by, nearest, gaps[nearest])


@dataclass(frozen=True)
class Reaches:
    """The statistic is at least a share of that of one of the references, on the same draws.

    References are right methods, and no controls. A share travels where a margin does not: what comes to 0.8
    on one subject comes to 0.2 on another, where a margin of 0.3 would let everything through.

    by: the smallest share that is enough.
    of: names of the references; it is enough to reach the worst of them.
    least: what each reference has to come to, or nothing can be told: a share of hardly anything is noise.
    """

    by: float
    of: tuple[str, ...] = ()
    least: float = 0.0
    better: ClassVar[Better] = "higher"
    bound: ClassVar[None] = None

    @property
    def scale(self) -> float:
        """The share."""
        return self.by

    @property
    def references(self) -> tuple[str, ...]:
        """As `of` says."""
        return self.of

    def __str__(self) -> str:
        return f"≥ {100 * self.by:g} % of {' or '.join(self.of)}"

    def judge(
        self,
        samples: Tensor,
        controls: Mapping[str, Tensor],
        estimate: Estimate,
        guard: Guard = unguarded,
        best: Tensor | None = None,
    ) -> Judgement:
        """Pass where it reaches the share of one of the references, fail where it is below that of all.

        controls: samples of the references that were asked, and no others. The error rate is shared among
        all of them, as for `Within`.
        """
        rate = ERROR_RATE / max(len(self.of), len(controls))
        leads = {name: samples - self.by * reference for name, reference in controls.items()}
        gaps = {name: estimate(lead, rate) for name, lead in leads.items()}
        outcome, nearest = _beside_references(gaps, 0.0)
        margin = (self.by - 1) * float(controls[nearest].mean())
        difference = _moved(gaps[nearest], margin)
        return Judgement(outcome, estimate(samples, ERROR_RATE), margin, nearest, difference)


def _beside_references(gaps: Mapping[str, Interval], line: float) -> tuple[Outcome, str]:
    """What the reference says that is the easiest to be near, and its name; gaps are good from a line on."""
    nearest = max(gaps, key=lambda name: gaps[name].low)
    if gaps[nearest].low >= line:
        return "pass", nearest
    nearest = max(gaps, key=lambda name: gaps[name].high)
    if gaps[nearest].high < line:
        return "fail", nearest
    return "undecided", max(gaps, key=lambda name: gaps[name].value)
