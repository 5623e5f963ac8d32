"""A comparison as text, at most 80 columns wide."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from xattr_check.history.compare import Change
from xattr_check.history.rules import Rule, correct_p_values_for
from xattr_check.report.looks import LOOKS
from xattr_check.wording import wrap


def render_lines(
    changes: Sequence[Change], broken: Sequence[tuple[Rule, Change]], *, all_rows: bool = False
) -> Iterator[tuple[str, str]]:
    """Lines of the table, each with what colours it, as of `xattr_check.report.table.lines`.

    all_rows: whether what is the same has a row as well.
    """
    rules = {id(change): rule for rule, change in reversed(broken)}
    places = {id(change): place for place, change in enumerate(changes)}
    for method, group in groupby(changes, key=lambda change: change.after.method):
        own = list(group)
        yield from ((line, "head") for line in wrap(method, indent=2))
        for change in own:
            if all_rows or change.clear or change.after.status != change.before.status or id(change) in rules:
                rule = rules.get(id(change))
                if rule is not None:
                    p = correct_p_values_for(rule, changes).get(places[id(change)], math.nan)
                    change = replace(change, corrected=p)
                yield from _row(change, None if rule is None else rule.text)
        yield f"  {summary(own)}", "head"
        for reason, members in _reasons(own).items():
            yield from ((line, "text") for line in wrap(f"{', '.join(members)}: {reason}", indent=4))


def _row(change: Change, rule: str | None) -> Iterator[tuple[str, str]]:
    before, after = change.before, change.after
    status = LOOKS[after.status].mark
    if after.status != before.status:
        status = f"{LOOKS[before.status].mark} -> {status}"
    figures = ""
    if before.interval is not None and after.interval is not None:
        figures = f"{before.interval.value:.3g} -> {after.interval.value:.3g}"
    colour = "fail" if rule else "text" if not change.clear else "pass" if change.worse < 0 else "unclear"
    yield f"    {after.check:<26} {status:<19} {figures}".rstrip(), colour
    told = []
    if change.difference_text:
        told.append(change.difference_text)
        if not math.isnan(change.corrected):
            told.append(f"p = {change.corrected:.2g}")
    if rule:
        told.append(f"not allowed by {rule}")
    if told:
        yield from ((line, "text") for line in wrap(", ".join(told)))


def _reasons(changes: Sequence[Change]) -> dict[str, list[str]]:
    """Why figures cannot be compared, each with the checks."""
    found: dict[str, list[str]] = {}
    for change in changes:
        if change.reason:
            found.setdefault(change.reason, []).append(change.after.check)
    return found


def summary(changes: Sequence[Change]) -> str:
    """How many figures changed which way: `1 worse, 2 better, 17 the same`."""
    counts = {
        "worse": sum(change.clear and change.worse > 0 for change in changes),
        "better": sum(change.clear and change.worse < 0 for change in changes),
        "not clear": sum(bool(change.worse) and not change.clear for change in changes),
        "the same": sum(change.same for change in changes),
        "another verdict": sum(not (change.worse or change.reason or change.same) for change in changes),
        "not comparable": sum(bool(change.reason) for change in changes),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
