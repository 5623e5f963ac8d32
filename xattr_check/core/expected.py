"""Failures that are expected: what is written down of one, and whether another is worse."""

import math
from dataclasses import dataclass, replace
from typing import Any

from xattr_check.core.verdict import Verdict

# By what share a figure lies beyond the recorded interval before it is worse. Where a method draws random
# numbers that all inputs share, another seed moves all rows together by up to so much, which no interval over
# inputs knows of.
DRIFT = 0.05


@dataclass(frozen=True)
class ExpectedFailure:
    """A check that a method is known to fail.

    reason: why that is accepted, in the words of a person; empty where none was given.
    sentence, accepted: what was seen when it was accepted, and the day, where a run wrote it down.
    interval: the ends of the figure's confidence interval then; None where any failure is expected.
    """

    reason: str = ""
    sentence: str = ""
    interval: tuple[float, float] | None = None
    accepted: str = ""

    @classmethod
    def of(cls, verdict: Verdict, day: str) -> "ExpectedFailure":
        """That of a verdict, without a reason.

        No interval is recorded of an error, which has none, nor of the contract, whose figures say nothing
        but that it is broken.
        """
        found = None if verdict.family == "contract" or verdict.status == "error" else verdict.interval
        known = found is not None and math.isfinite(found.low) and math.isfinite(found.high)
        interval = (_rounded(found.low), _rounded(found.high)) if found is not None and known else None
        return cls("", " ".join(verdict.text.split()), interval, day)

    def renewed(self, verdict: Verdict, day: str) -> "ExpectedFailure":
        """That of another verdict, with the reason of this one."""
        return replace(self.of(verdict, day), reason=self.reason)

    def worse(self, verdict: Verdict) -> str:
        """How a failure is worse than the recorded one, or an empty string.

        Each of two intervals leaves out the truth at the error rate of the battery at most, whatever was
        drawn: where a new one lies beyond the bad end of the recorded one, by more than DRIFT, another seed
        or budget is no excuse.
        """
        if self.interval is None:
            return ""
        low, high = self.interval
        figure = f"{low:g}" if low == high else f"[{low:g}, {high:g}]"
        if verdict.status == "error":
            return f"{figure} was accepted, and now there is no figure"
        if verdict.interval is None:
            return ""
        if verdict.better == "lower":
            beyond = verdict.interval.low > high + DRIFT * abs(high)
        else:
            beyond = verdict.interval.high < low - DRIFT * abs(low)
        return f"worse than the {figure} that was accepted" if beyond else ""

    @property
    def told_reason(self) -> str:
        """The reason, or that there is none."""
        return self.reason or "no reason given"

    def record(self) -> dict[str, Any]:
        """What a file says of it: the reason, and of the others those that there are."""
        interval = None if self.interval is None else list(self.interval)
        others = {"sentence": self.sentence, "interval": interval, "accepted": self.accepted}
        return {"reason": self.reason, **{name: value for name, value in others.items() if value}}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "ExpectedFailure":
        """That of a record."""
        interval = record.get("interval")
        return cls(**{**record, "interval": None if interval is None else tuple(interval)})


def _rounded(end: float) -> float:
    """An end in four digits, of which a person reads more than enough."""
    return float(f"{end:.4g}")
