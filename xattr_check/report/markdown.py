"""Verdicts as Markdown, for a comment on a pull request."""

import html
import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from xattr_check.core.verdict import Verdict
from xattr_check.history.compare import Change
from xattr_check.history.confirmation import Confirmation
from xattr_check.history.rules import Rule
from xattr_check.report.comparison import confirmation_sentences, confirmed_by
from xattr_check.report.looks import LOOKS, name_rows, needs_attention, status_name
from xattr_check.report.standing import Standing
from xattr_check.report.table import group_of, in_order, summary

# What a comment on GitHub may have, in characters; the rest is in the report.
LONGEST = 60_000
MARKER = "<!-- xattr-check -->"


def text(
    verdicts: Sequence[Verdict],
    *,
    compared: str = "",
    changes: Sequence[Change] = (),
    broken: Sequence[tuple[Rule, Change]] = (),
    idle: Sequence[Rule] = (),
    confirmation: Confirmation | None = None,
    missing: int = 0,
) -> str:
    """The verdicts, those that need attention first and all of them folded, and what changed.

    compared: the run that changes are against. broken: rules of the comparison, with what broke them.
    idle: rules that nothing could be held to. confirmation: what another seed says of the rules broken.
    missing: results that an interrupted run lacks.
    """
    parts = [MARKER, f"## xattr-check: {_headline(verdicts, broken, idle)}"]
    if missing:
        parts.append(f"**The run was interrupted: {missing} results are missing.**")
    for (subject, method), group in groupby(in_order(verdicts), key=group_of):
        own = list(group)
        parts.append(
            f"**{escape(method)}** on {escape(subject)} {Standing.of(method, own).verdict}: "
            f"{escape(summary(own))}"
        )
        found = [verdict for verdict in own if needs_attention(verdict)]
        if found:
            parts.append("\n".join(_table(found)))
    if compared:
        table = "\n".join(_changes(changes, broken, confirmation))
        parts += [f"### Compared with {escape(compared)}", table]
        if broken:
            parts.append("What a rule does not allow fails the run.")
        parts += [f"{escape(told)}." for told in confirmation_sentences(confirmation)]
        parts += [
            f"`{rule.text}`: nothing that it speaks of was compared, so the run fails." for rule in idle
        ]
    whole = "\n".join(_table(in_order(verdicts), with_method=True))
    if sum(map(len, parts)) + len(whole) < LONGEST:
        parts.append(f"<details><summary>All {len(verdicts)} verdicts</summary>\n\n{whole}\n\n</details>")
    else:
        parts.append(f"All {len(verdicts)} verdicts are too many for a comment; they are in the report.")
    return "\n\n".join(parts)[:LONGEST] + "\n"


def _headline(verdicts: Sequence[Verdict], broken: Sequence[object], idle: Sequence[object]) -> str:
    found = Standing.of("", verdicts)
    told = [f"{len(found.failed)} of {found.judged} checks fail"] if found.failed else []
    if broken or idle:
        told.append("worse than before" if broken else "not comparable with before")
    return ", ".join(told) or ("no required check fails" if found.judged else "nothing was judged")


def _table(verdicts: Sequence[Verdict], *, with_method: bool = False) -> Iterator[str]:
    head, name = ["check", "verdict", "figure", "gate", "what was seen"], name_rows(verdicts)
    yield "| " + " | ".join(["method", *head] if with_method else head) + " |"
    yield "|" + "---|" * (len(head) + with_method)
    for verdict in verdicts:
        seen = verdict.sentence if needs_attention(verdict) else ""
        cells = [verdict.check, status_name(verdict), verdict.figure_text, verdict.gate, seen]
        yield "| " + " | ".join(map(escape, [name(verdict), *cells] if with_method else cells)) + " |"


def _changes(
    changes: Sequence[Change], broken: Sequence[tuple[Rule, Change]], confirmation: Confirmation | None
) -> Iterator[str]:
    dropped, said = [] if confirmation is None else confirmation.dropped, confirmed_by(confirmation)
    rules = {id(change): f"{rule.text}{said(rule, change)}" for rule, change in reversed([*broken, *dropped])}
    shown = [
        change
        for change in changes
        if change.clear or change.after.status != change.before.status or id(change) in rules
    ]
    if not shown:
        yield "Nothing changed." if changes else "Nothing is compared: no check of a method is in both runs."
        return
    name = name_rows(change.after for change in changes)
    yield "| method | check | verdict | before | after | difference | p | rule |"
    yield "|---|---|---|---|---|---|---|---|"
    for change in shown:
        before, after = change.before, change.after
        status = LOOKS[after.status].mark
        if before.status != after.status:
            status = f"{LOOKS[before.status].mark} → {status}"
        cells = [
            name(after),
            after.check,
            status,
            "" if before.interval is None else f"{before.interval.value:.3g}",
            "" if after.interval is None else f"{after.interval.value:.3g}",
            change.reason or change.difference_text,
            "" if math.isnan(change.corrected) else f"{change.corrected:.2g}",
            rules.get(id(change), ""),
        ]
        yield "| " + " | ".join(map(escape, cells)) + " |"


def escape(text: str) -> str:
    """A text that no part of is read as Markdown, HTML or a mention of somebody."""
    line = " ".join(text.split())
    line = re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", html.escape(line, quote=False))
    return line.replace("@", "@\u200b")
