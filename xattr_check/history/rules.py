"""What a change may not do: the rules of --xattr-compare-fail."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from xattr_check.core import registry
from xattr_check.core.verdict import Status
from xattr_check.errors import UsageError
from xattr_check.history.compare import Change, correct_p_values
from xattr_check.wording import nearest

STATUSES = get_args(Status)
OPTION = "--xattr-compare-fail"
WANTED = (
    "p<NUMBER, worse>NUMBER, worse>NUMBER% or STATUS->STATUS, or some of them joined by and, "
    "with CHECK: or FAMILY: before it"
)


@dataclass(frozen=True)
class Rule:
    """One rule, such as `p<0.01`, `deletion:worse>5%` or `any:pass->fail`.

    which: a check, a family, or `any`. kind: `p`, `worse`, `share`, or `status` with from and to.
    others: what has to be so besides, joined to it by `and`.
    """

    text: str
    which: str
    kind: str
    bound: float = 0.0
    statuses: tuple[str, str] = ("any", "any")
    others: "tuple[Rule, ...]" = ()

    @property
    def is_of_figures(self) -> bool:
        """Whether it says anything of figures, and not of statuses alone."""
        return self.kind != "status" or any(one.is_of_figures for one in self.others)

    def concerns(self, change: Change) -> bool:
        """Whether the rule speaks of that check: of one that does not gate, or has no gate, only by name."""
        gates = change.after.required and not change.after.ungated
        groups = ("any", change.after.family) if gates else ()
        return self.which in (change.after.check, change.after.check.partition("?")[0], *groups)

    def broken_by(self, change: Change, p: float) -> bool:
        """Whether a change breaks it; p is corrected for the number of checks."""
        return self._holds_of(change, p) and all(one.broken_by(change, p) for one in self.others)

    def _holds_of(self, change: Change, p: float) -> bool:
        if self.kind == "status":
            found = (change.before.status, change.after.status)
            return found[0] != found[1] and all(
                wanted in ("any", status) for wanted, status in zip(self.statuses, found, strict=True)
            )
        if self.kind == "p":
            return change.worse > 0 and p < self.bound
        return (change.share if self.kind == "share" else change.worse) > self.bound


def parse(text: str) -> list[Rule]:
    """The rules of a text, separated by commas. Raises UsageError."""
    return [_rule(part.strip()) for part in text.split(",") if part.strip()]


def _rule(text: str) -> Rule:
    which, colon, what = text.rpartition(":")
    which = which.strip() if colon else "any"
    checks = registry.checks()
    known = {"any", *checks, *(check.family for check in checks.values())}
    if which not in known:
        problem = f"no check or family {which!r}"
        raise UsageError(problem, option=OPTION, value=text, hint=nearest(which, known))
    first, *others = (_condition(part, text, which) for part in re.split(r"\band\b", what))
    return replace(first, others=tuple(others))


def _condition(what: str, text: str, which: str) -> Rule:
    if found := re.fullmatch(r"\s*(p\s*<|worse\s*>)\s*([0-9.eE+-]+)\s*(%?)\s*", what):
        kind = "p" if found[1].startswith("p") else "share" if found[3] else "worse"
        try:
            bound = float(found[2]) / (100 if found[3] else 1)
        except ValueError:
            raise UsageError(
                option=OPTION, value=text, expected=WANTED, came=f"{found[2]!r} for a number"
            ) from None
        if kind != "p" or (0 < bound <= 1 and not found[3]):
            return Rule(text, which, kind, bound)
    if found := re.fullmatch(r"\s*(\w+)\s*->\s*(\w+)\s*", what):
        for status in found.groups():
            if status not in ("any", *STATUSES):
                hint = nearest(status, ("any", *STATUSES))
                raise UsageError(f"no status {status!r}", option=OPTION, value=text, hint=hint)
        return Rule(text, which, "status", statuses=(found[1], found[2]))
    raise UsageError(option=OPTION, value=text, expected=WANTED)


def held_to_nothing(rules: Sequence[Rule], changes: Sequence[Change]) -> list[Rule]:
    """The rules that no change can break, since what they speak of was not compared."""
    return [
        rule
        for rule in rules
        if not any(
            rule.concerns(change) and (change.difference is not None or not rule.is_of_figures)
            for change in changes
        )
    ]


def correct_p_values_for(rule: Rule, changes: Sequence[Change]) -> dict[int, float]:
    """As `correct_p_values`, for the checks that a rule speaks of alone: it asks nothing of the others."""
    places = [place for place, change in enumerate(changes) if rule.concerns(change)]
    found = correct_p_values([changes[place] for place in places])
    return {place: found[number] for number, place in enumerate(places) if number in found}


def broken(rules: Sequence[Rule], changes: Sequence[Change]) -> Iterator[tuple[Rule, Change]]:
    """Every rule with every change that breaks it."""
    for rule in rules:
        p_values = correct_p_values_for(rule, changes)
        for place, change in enumerate(changes):
            if rule.concerns(change) and rule.broken_by(change, p_values.get(place, 1.0)):
                yield rule, change
