"""Rows of a kill matrix: what came of one mutant, and what a right method came to by itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from xattr_check.core.verdict import Verdict

Outcome = Literal["killed", "survived", "undecided", "equivalent", "not_applicable"]
# What a required check says of what it kills.
KILLING = ("fail", "error")


@dataclass(frozen=True)
class Row:
    """One mutant on one subject.

    mutant: its spec. method: that of the right one, empty where the mutant was made by hand.
    operator, amount: that it was made by; the number is None where the operator has none.
    outcome: `killed` where a required check that the right method passes fails it, `survived` where all pass,
        `undecided` where none fails and some are; `equivalent` where it says what the right method says.
    reason: why it was not judged. statuses: of the checks that judged it, by name.
    closest: the check that came nearest to a failure, and what it says. nearest: what its maps are like.
    likeness: to the right method's maps.
    """

    mutant: str
    method: str
    operator: str
    amount: float | None
    seed: int
    outcome: Outcome
    reason: str = ""
    statuses: Mapping[str, str] = field(default_factory=dict)
    closest: str = ""
    nearest: str = ""
    likeness: float | None = None
    seconds: float = 0.0

    @property
    def killers(self) -> list[str]:
        """The checks that killed it."""
        return [name for name, status in self.statuses.items() if status in KILLING]

    @property
    def counts(self) -> bool:
        """Whether it is one of those of which a share is killed."""
        return self.outcome in ("killed", "survived", "undecided")

    def record(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Row":
        """The row that a record tells of; what a later version adds is left out."""
        names = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in record.items() if name in names})


@dataclass(frozen=True)
class Base:
    """A right method by itself.

    passed: the required checks that it passes, those that gate any method first, and of these the quickest.
    failed: those that it does not.
    error: why it was not judged, empty where it was. nearest: what of the others its maps are like.
    """

    method: str
    seed: int
    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    error: str = ""
    nearest: str = ""
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Base":
        """The method that a record tells of; what a later version adds is left out."""
        names = {item.name for item in fields(cls)}
        known: dict[str, Any] = {name: value for name, value in record.items() if name in names}
        return cls(**known | {name: tuple(record[name]) for name in ("passed", "failed")})


def outcome_of(verdicts: list[Verdict]) -> Outcome:
    """What came of a mutant, by what required checks say of it; where none says anything, nothing."""
    statuses = {verdict.status for verdict in verdicts}
    if statuses & set(KILLING):
        return "killed"
    if "undecided" in statuses:
        return "undecided"
    return "survived" if "pass" in statuses else "not_applicable"


def closest(verdicts: list[Verdict]) -> str:
    """The check that came nearest to a failure, and what it says; empty where none measured anything.

    Those that are undecided before those that pass; then by the way to the line in widths of the interval.
    """
    measured = [one for one in verdicts if one.interval is not None and one.status in ("undecided", "pass")]
    if not measured:
        return ""
    near = min(measured, key=lambda one: (one.status != "undecided", _way(one)))
    return f"{near.check} ({near.status}): {near.text}"


def _way(verdict: Verdict) -> float:
    """From the statistic to its line, in widths of its interval; infinite where no line is told."""
    interval = verdict.interval
    lines = [verdict.bound] if verdict.bound is not None else list(verdict.controls.values())
    if interval is None or not lines or interval.high == interval.low:
        return float("inf")
    return min(abs(interval.value - line) for line in lines) / (interval.high - interval.low)
