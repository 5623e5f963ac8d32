"""Verdicts as text, at most 80 columns wide."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from xattr_check.verdict import Verdict

WIDTH = 80
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
FAMILIES = ("contract", "generated", "exact", "sanity", "faithfulness", "retraining", "localisation")


def in_order(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts grouped by method, then by family, in the order of the battery."""
    methods = list(dict.fromkeys(verdict.method for verdict in verdicts))

    def place(verdict: Verdict) -> tuple[int, int, str]:
        rank = FAMILIES.index(verdict.family) if verdict.family in FAMILIES else len(FAMILIES)
        return methods.index(verdict.method), rank, verdict.family

    return sorted(verdicts, key=place)


def lines(verdicts: Sequence[Verdict], *, controls: bool = False) -> Iterator[tuple[str, str]]:
    """Lines of the table, each with the status that colours it: `head`, or that of a verdict.

    controls: whether the controls' figures stand under each statistic.
    """
    for method, group in groupby(in_order(verdicts), key=lambda verdict: verdict.method):
        own = list(group)
        yield "", "head"
        yield f"{method} on {own[0].subject}", "head"
        told: dict[str, str] = {}
        for family, members in groupby(own, key=lambda verdict: verdict.family):
            yield f"  {family}", "head"
            for verdict in members:
                yield _row(verdict), verdict.status
                yield from ((line, verdict.status) for line in _sentence(verdict, told))
                if controls and verdict.controls:
                    figures = ", ".join(f"{name} {value:.3g}" for name, value in verdict.controls.items())
                    yield from ((line, "head") for line in _wrapped(f"controls: {figures}"))
        yield f"  {summary(own)}", "head"


def _row(verdict: Verdict) -> str:
    mark = MARKS[verdict.status]
    if verdict.status == "fail" and not verdict.required:
        mark = "fail (not claimed)"
    number = "" if verdict.interval is None or verdict.family == "contract" else str(verdict.interval)
    gate = f"gate {verdict.gate}" if number else ""
    row = f"    {verdict.check:<26} {mark:<10} {number:<24}".rstrip()
    # The gate is dropped where it does not fit; the sentence of a failure repeats it.
    return f"{row:<66} {gate}" if gate and len(f"{row:<66} {gate}") <= WIDTH else row


def _sentence(verdict: Verdict, told: dict[str, str]) -> Iterator[str]:
    if verdict.status == "pass" or (verdict.status == "fail" and not verdict.required):
        return
    text = verdict.sentence.removeprefix(f"{verdict.check}: ")
    if text in told:
        yield from _wrapped(f"as at {told[text]}")
    else:
        told[text] = verdict.check
        yield from _wrapped(text)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts of each kind: `17 pass, 1 fail`."""
    counts: dict[str, int] = {}
    for verdict in verdicts:
        kind = MARKS[verdict.status].lower()
        if verdict.status == "fail" and not verdict.required:
            kind = "not claimed and not held"
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def table(verdicts: Sequence[Verdict], *, controls: bool = False) -> str:
    """The whole table as text."""
    return "\n".join(line for line, _ in lines(verdicts, controls=controls)).strip("\n")
