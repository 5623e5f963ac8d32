"""A comparison as text, at most 80 columns wide."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from xattr_check.history.compare import Change
from xattr_check.history.confirmation import Confirmation
from xattr_check.history.rules import Rule, correct_p_values_for
from xattr_check.report.looks import LOOKS, name_rows
from xattr_check.report.table import group_of
from xattr_check.wording import wrap


def render_lines(
    changes: Sequence[Change],
    broken: Sequence[tuple[Rule, Change]],
    *,
    confirmation: Confirmation | None = None,
    all_rows: bool = False,
) -> Iterator[tuple[str, str]]:
    """Lines of the table, each with what colours it, as of `xattr_check.report.table.lines`.

    confirmation: what another seed says of the rules broken. all_rows: whether what is the same has a row as
    well.
    """
    dropped = [] if confirmation is None else confirmation.dropped
    rules = {id(change): rule for rule, change in reversed([*broken, *dropped])}
    stays = {id(change) for _, change in broken}
    said = confirmed_by(confirmation)
    places = {id(change): place for place, change in enumerate(changes)}
    name = name_rows(change.after for change in changes)
    for _, group in groupby(changes, key=lambda change: group_of(change.after)):
        own = list(group)
        yield from ((line, "head") for line in wrap(name(own[0].after), indent=2))
        for change in own:
            rule = rules.get(id(change))
            if rule is not None:
                p = correct_p_values_for(rule, changes).get(places[id(change)], math.nan)
                held = f"not allowed by {rule.text}{said(rule, change)}"
                yield from _row(replace(change, corrected=p), held, red=id(change) in stays)
            elif all_rows or change.clear or change.after.status != change.before.status:
                yield from _row(change)
        yield f"  {summary(own)}", "head"
        for reason, members in _reasons(own).items():
            yield from ((line, "text") for line in wrap(f"{', '.join(members)}: {reason}", indent=4))


def confirmed_by(confirmation: Confirmation | None) -> Callable[[Rule, Change], str]:
    """What to add to a rule beside a change that broke it: `, not confirmed by seed 1 (p = 0.4)`."""
    rechecks = [] if confirmation is None else confirmation.rechecks
    known = {(one.rule.text, id(one.change)): one for one in rechecks if one.confirmed is not None}

    def said(rule: Rule, change: Change) -> str:
        one = known.get((rule.text, id(change)))
        if one is None or confirmation is None:
            return ""
        again = one.again
        # The p of a rounding, or of what is better, is none of a rule's.
        tells = again is not None and again.worse > 0 and not math.isnan(again.corrected)
        figure = f" (p = {again.corrected:.2g})" if again is not None and tells else ""
        return f", {'' if one.confirmed else 'not '}confirmed by seed {confirmation.seed}{figure}"

    return said


def confirmation_sentences(confirmation: Confirmation | None) -> Iterator[str]:
    """What another seed says of all that broke a rule, or what to do so that one can."""
    if confirmation is None:
        return
    if confirmation.run is None:
        yield f"not confirmed on another draw: {confirmation.reason}"
        return
    by = f"by seed {confirmation.seed} ({confirmation.run})"
    for verdict, ending in ((True, "confirmed"), (False, "not confirmed, and so not held against this run,")):
        count = len({id(one.change) for one in confirmation.rechecks if one.confirmed is verdict})
        if count:
            yield f"{count} change{' is' if count == 1 else 's are'} {ending} {by}"
    unknown = [one for one in confirmation.rechecks if one.confirmed is None]
    for reason in dict.fromkeys(one.reason for one in unknown):
        names = ", ".join(dict.fromkeys(one.change.after.check for one in unknown if one.reason == reason))
        yield f"{names}: not to be confirmed {by}, since {reason}"


def _row(change: Change, held: str = "", *, red: bool = False) -> Iterator[tuple[str, str]]:
    before, after = change.before, change.after
    status = LOOKS[after.status].mark
    if after.status != before.status:
        status = f"{LOOKS[before.status].mark} -> {status}"
    figures = ""
    if before.interval is not None and after.interval is not None:
        figures = f"{before.interval.value:.3g} -> {after.interval.value:.3g}"
    colour = "fail" if red else "text" if not change.clear else "pass" if change.worse < 0 else "unclear"
    yield f"    {after.check:<26} {status:<19} {figures}".rstrip(), colour
    told = []
    if change.difference_text:
        told.append(change.difference_text)
        if not math.isnan(change.corrected):
            told.append(f"p = {change.corrected:.2g}")
    if held:
        told.append(held)
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
