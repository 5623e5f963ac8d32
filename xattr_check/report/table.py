"""Verdicts as text, at most 80 columns wide."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from xattr_check.core.checks import FAMILIES
from xattr_check.core.verdict import Verdict
from xattr_check.wording import WIDTH, wrapped

MARKS = {
    "pass": "pass",
    "fail": "FAIL",
    "error": "ERROR",
    "xpass": "XPASS",
    "xfail": "xfail",
    "undecided": "undecided",
    "invalid": "invalid",
    "not_applicable": "n/a",
}


def in_order(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts grouped by method, then by family, in the order of the battery."""
    methods = list(dict.fromkeys(verdict.method for verdict in verdicts))

    def place(verdict: Verdict) -> tuple[int, int, str]:
        rank = FAMILIES.index(verdict.family) if verdict.family in FAMILIES else len(FAMILIES)
        return methods.index(verdict.method), rank, verdict.family

    return sorted(verdicts, key=place)


def lines(
    verdicts: Sequence[Verdict], *, controls: bool = False, brief: bool = False
) -> Iterator[tuple[str, str]]:
    """Lines of the table, each with what colours it: `head`, `text`, or the status of a verdict.

    controls: whether the controls' figures stand under each statistic.
    brief: whether only what needs attention has a row.
    """
    for method, group in groupby(in_order(verdicts), key=lambda verdict: verdict.method):
        own = list(group)
        yield "", "text"
        yield from ((line, "head") for line in wrapped(f"{method} on {own[0].subject}", indent=0))
        told: dict[str, str] = {}
        for family, members in groupby(own, key=lambda verdict: verdict.family):
            shown = [verdict for verdict in members if not brief or needs_attention(verdict)]
            if shown:
                yield f"  {family}", "head"
            for verdict in shown:
                yield _row(verdict), _colour(verdict)
                yield from ((line, "text") for line in _sentence(verdict, told))
                if controls and verdict.controls:
                    figures = ", ".join(f"{name} {value:.3g}" for name, value in verdict.controls.items())
                    yield from ((line, "text") for line in wrapped(f"controls: {figures}"))
        yield f"  {summary(own)}", "head"


def unclaimed(verdict: Verdict) -> bool:
    """Whether it failed and does not gate."""
    return verdict.status == "fail" and not verdict.required


def reported(verdict: Verdict) -> str:
    """What is said of a failure that does not gate."""
    return "advice" if verdict.advisory else "not claimed"


def needs_attention(verdict: Verdict) -> bool:
    """Whether it failed where it gates, or came to no verdict."""
    return verdict.failed or verdict.status in ("undecided", "invalid")


def _colour(verdict: Verdict) -> str:
    return "not_applicable" if unclaimed(verdict) else verdict.status


def _row(verdict: Verdict) -> str:
    mark = "fail" if unclaimed(verdict) else MARKS[verdict.status]
    number = "" if verdict.interval is None or verdict.family == "contract" else str(verdict.interval)
    row = f"    {verdict.check:<26} {mark:<9} {number:<23}".rstrip()
    for gate in _gate(verdict, number):
        if len(f"{row:<64} {gate}") <= WIDTH:
            return f"{row:<64} {gate}"
    return row  # the sentence of a failure repeats the gate


def _gate(verdict: Verdict, number: str) -> list[str]:
    """What may stand in the last column, the best first."""
    if unclaimed(verdict):
        return [f"({reported(verdict)})"]
    if not number:
        return []
    sign = "<" if "below" in verdict.gate else ">"
    short = [f"gate {sign} controls"] if "control" in verdict.gate else []
    return [f"gate {verdict.gate}", *short]


def _sentence(verdict: Verdict, told: dict[str, str]) -> Iterator[str]:
    told_anyway = verdict.gate == "none"  # there is nothing else to a report
    if (verdict.status == "pass" and not told_anyway) or (unclaimed(verdict) and not verdict.advisory):
        return
    # The row shows the check already, and its number but for those of the contract.
    text = verdict.sentence.removeprefix(f"{verdict.check}: ")
    if verdict.family != "contract":
        text = text.removeprefix(f"{verdict.interval} ")
    if text in told:
        yield from wrapped(f"as at {told[text]}")
    else:
        told[text] = verdict.check
        yield from wrapped(text)


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts of each kind: `17 pass, 1 fail, 1 not claimed`."""
    kinds = [*MARKS.values(), "not claimed", "advice"]
    found = [reported(verdict) if unclaimed(verdict) else MARKS[verdict.status] for verdict in verdicts]
    return ", ".join(f"{found.count(kind)} {kind.lower()}" for kind in kinds if kind in found)


def table(verdicts: Sequence[Verdict], *, controls: bool = False) -> str:
    """The whole table as text."""
    return "\n".join(line for line, _ in lines(verdicts, controls=controls)).strip("\n")
