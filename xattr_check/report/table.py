"""Verdicts as text, at most 80 columns wide."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from xattr_check.core.checks import FAMILIES
from xattr_check.core.verdict import Verdict
from xattr_check.report.looks import LOOKS, excuse, look, needs_attention, status_name
from xattr_check.wording import WIDTH, wrap

# What a verdict is that decides nothing.
NOTHING = {"not_applicable", "invalid", "undecided"}


def in_order(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts grouped by subject and method, then by family, in the order of the battery."""
    groups = list(dict.fromkeys(map(group_of, verdicts)))

    def place(verdict: Verdict) -> tuple[int, int, str]:
        rank = FAMILIES.index(verdict.family) if verdict.family in FAMILIES else len(FAMILIES)
        return groups.index(group_of(verdict)), rank, verdict.family

    return sorted(verdicts, key=place)


def group_of(verdict: Verdict) -> tuple[str, str]:
    """With which others it stands: those of its method on its subject."""
    return verdict.subject, verdict.method


def render_lines(
    verdicts: Sequence[Verdict], *, controls: bool = False, brief: bool = False
) -> Iterator[tuple[str, str]]:
    """Lines of the table, each with what colours it: `head`, `text`, or the tone of a verdict.

    controls: whether the controls' figures stand under each statistic.
    brief: whether only what needs attention has a row.
    """
    for (subject, method), group in groupby(in_order(verdicts), key=group_of):
        own = list(group)
        yield "", "text"
        yield from ((line, "head") for line in wrap(f"{method} on {subject}", indent=0))
        told: dict[str, str] = {}
        for family, members in groupby(own, key=lambda verdict: verdict.family):
            shown = [verdict for verdict in members if not brief or needs_attention(verdict)]
            if shown:
                yield f"  {family}", "head"
            for verdict in shown:
                yield _row(verdict), look(verdict).tone
                yield from ((line, "text") for line in _sentence(verdict, told))
                if controls and verdict.controls:
                    figures = ", ".join(f"{name} {value:.3g}" for name, value in verdict.controls.items())
                    yield from ((line, "text") for line in wrap(f"controls: {figures}"))
        yield f"  {summary(own)}", "head"


def _row(verdict: Verdict) -> str:
    row = f"    {verdict.check:<26} {look(verdict).mark:<9} {verdict.figure_text:<23}".rstrip()
    for gate in _gate(verdict):
        if len(f"{row:<64} {gate}") <= WIDTH:
            return f"{row:<64} {gate}"
    return row  # the sentence of a failure repeats the gate


def _gate(verdict: Verdict) -> list[str]:
    """What may stand in the last column, the best first."""
    if verdict.excused or (not verdict.required and verdict.interval is not None):
        return [f"({excuse(verdict)})"]
    if not verdict.figure_text:
        return []
    lower = verdict.better == "lower"
    short = [f"gate {'<' if lower else '>'} controls"] if verdict.beats else []
    short += ["gate references"] if verdict.references else []
    return [f"gate {verdict.gate}", *short]


def _sentence(verdict: Verdict, told: dict[str, str]) -> Iterator[str]:
    """The sentence where the row does not say all, or the check where it stands already, but for its name."""
    whole = verdict.status == "pass" and not verdict.ungated  # what is only reported has nothing but it
    if whole or (verdict.excused and not verdict.advisory):
        return
    nameless = verdict.sentence.replace(verdict.check, "")
    if nameless in told:
        yield from wrap(f"as at {told[nameless]}")
    else:
        told[nameless] = verdict.check
        yield from wrap(verdict.sentence)


def advice(verdicts: Sequence[Verdict]) -> str:
    """Where it is told how to give the subjects what checks need, or an empty string where none lacks any."""
    if not any(verdict.lacks for verdict in verdicts):
        return ""
    return "what a subject may offer, and how: docs/subjects.md, 'What is known besides'"


def why_nothing(verdicts: Sequence[Verdict]) -> str:
    """That nothing was judged or decided, and why that is of most checks; empty where anything was."""
    statuses = {verdict.status for verdict in verdicts}
    if not statuses or not statuses <= NOTHING:
        return ""
    told = "nothing was decided"
    if statuses == {"not_applicable"}:
        told = "no check applies here: nothing was judged"
    checks: dict[str, list[str]] = {}
    for verdict in verdicts:
        checks.setdefault(verdict.sentence.replace(verdict.check, ""), []).append(verdict.check)
    most = max(checks.values(), key=lambda names: len(set(names)))
    first = next(verdict for verdict in verdicts if verdict.check == most[0])
    more = len(set(most)) - 1  # of several methods each is told of once
    others = f" and {more} more" if more else ""
    return f"{told}; {most[0]}{others}: {first.text}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts of each kind: `17 pass, 1 fail, 1 not claimed`."""
    kinds = [*(one.mark for one in LOOKS.values()), "not claimed", "advice"]
    found = [status_name(verdict) for verdict in verdicts]
    return ", ".join(f"{found.count(kind)} {kind.lower()}" for kind in kinds if kind in found)


def table(verdicts: Sequence[Verdict], *, controls: bool = False) -> str:
    """The whole table as text."""
    return "\n".join(line for line, _ in render_lines(verdicts, controls=controls)).strip("\n")
