"""Which methods may be believed on a subject: verdicts counted and ranked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from xattr_check.core.verdict import Verdict
from xattr_check.wording import WIDTH, wrap


@dataclass(frozen=True)
class Standing:
    """How one method stands.

    failed: checks on which a gate closes; unclear: undecided or invalid; both by name.
    errors: how many of the failed ones came to nothing, since the method raised or returned what it must not.
    seconds: time that its checks took.
    """

    method: str
    passed: int
    failed: Sequence[str]
    unclear: Sequence[str]
    errors: int
    seconds: float

    @classmethod
    def of(cls, method: str, verdicts: Sequence[Verdict]) -> "Standing":
        """The standing by a method's verdicts."""
        return cls(
            method,
            sum(verdict.status == "pass" and verdict.required for verdict in verdicts),
            [verdict.check for verdict in verdicts if verdict.failed],
            [verdict.check for verdict in verdicts if verdict.unclear],
            sum(verdict.status == "error" for verdict in verdicts),
            sum(verdict.seconds for verdict in verdicts),
        )

    @property
    def judged(self) -> int:
        """How many required checks came to pass or fail."""
        return self.passed + len(self.failed)

    @property
    def place(self) -> tuple[int, int, int, str]:
        """What methods are ranked by: failures, then what is unclear, then passes."""
        return len(self.failed), len(self.unclear), -self.passed, self.method

    @property
    def verdict(self) -> str:
        """In a few words."""
        return self.describe()

    def describe(self, what: str = "") -> str:
        """In a few words, with a word for checks."""
        if self.failed:
            errors = f", {self.errors} by an error" if self.errors else ""
            return f"fails {len(self.failed)} of {self.judged}{what}{errors}"
        if not self.passed:
            return "nothing was judged"
        if self.unclear:
            return f"passes {self.passed}, {len(self.unclear)} unclear"
        return f"passes all {self.passed}{what}"


def standings(verdicts: Sequence[Verdict]) -> list[Standing]:
    """The standing of every method on one subject, the best first."""
    ordered = sorted(verdicts, key=lambda verdict: verdict.method)
    found = [
        Standing.of(method, list(own)) for method, own in groupby(ordered, key=lambda verdict: verdict.method)
    ]
    return sorted(found, key=lambda one: one.place)


def render_lines(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, str]]:
    """Lines of the ranking, each with what colours it, as of `xattr_check.report.table.lines`.

    Each subject has a ranking of its own: what applies to one need not apply to another.
    """
    by_subject: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_subject.setdefault(verdict.subject, []).append(verdict)
    for subject, own in by_subject.items():
        if len(by_subject) > 1:
            yield from ((line, "head") for line in wrap(f"on {subject}", indent=0))
        yield from _ranking(own)


def _ranking(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, str]]:
    for one in standings(verdicts):
        colour = "fail" if one.failed else "unclear" if one.unclear or not one.passed else "pass"
        yield f"  {one.method:<34} {one.verdict:<28} {one.seconds:>9.1f} s"[:WIDTH], colour
        if one.failed:
            yield from ((line, "text") for line in wrap(", ".join(one.failed), indent=6))
    if count := sum(verdict.excused for verdict in verdicts):
        what = "1 failure is" if count == 1 else f"{count} failures are"
        yield f"  {what} not counted: the method does not claim the check, or it is advice", "text"
