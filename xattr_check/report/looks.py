"""How a verdict looks: one table of marks, symbols and tones, for the terminal, the page and the charts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from xattr_check.core.verdict import Status, Verdict

Tone = Literal["pass", "fail", "unclear", "none"]


@dataclass(frozen=True)
class Look:
    """How a status is shown.

    mark: in a table. symbol: in a matrix, one sign. tone: what colours it.
    """

    mark: str
    symbol: str
    tone: Tone


LOOKS: dict[Status, Look] = {
    "pass": Look("pass", "●", "pass"),
    "fail": Look("FAIL", "✕", "fail"),
    "error": Look("ERROR", "!", "fail"),
    "xpass": Look("XPASS", "✕", "fail"),
    "xfail": Look("xfail", "?", "unclear"),
    "undecided": Look("undecided", "?", "unclear"),
    "invalid": Look("invalid", "?", "unclear"),
    "not_applicable": Look("n/a", "–", "none"),
}
# A failure that does not gate, and a pass that nobody claimed.
EXCUSED = Look("fail", "–", "none")
UNCLAIMED = Look("pass", "○", "pass")


def look(verdict: Verdict) -> Look:
    """How a verdict is shown."""
    if verdict.excused:
        return EXCUSED
    if verdict.status == "pass" and not verdict.required:
        return UNCLAIMED
    return LOOKS[verdict.status]


def excuse(verdict: Verdict) -> str:
    """What is said of a verdict that does not gate."""
    return "advice" if verdict.advisory else "not claimed"


def status_name(verdict: Verdict) -> str:
    """The status in words, where an excused failure is told from others."""
    return excuse(verdict) if verdict.excused else LOOKS[verdict.status].mark


def name_rows(verdicts: Iterable[Verdict]) -> Callable[[Verdict], str]:
    """How to call each of some verdicts: by its method, and by its subject where there are several."""
    several = len({verdict.subject for verdict in verdicts}) > 1

    def name(verdict: Verdict) -> str:
        return f"{verdict.method} on {verdict.subject}" if several else verdict.method

    return name


def needs_attention(verdict: Verdict) -> bool:
    """Whether it failed where it gates, or came to no verdict."""
    return verdict.failed or verdict.unclear
