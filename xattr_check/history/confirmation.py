"""A broken rule on another draw: what one seed alone does not allow is no finding yet."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xattr_check.history.compare import Change, Runs, compare
from xattr_check.history.rules import Rule, broken
from xattr_check.history.saved import SavedRun

Broken = tuple[Rule, Change]


@dataclass(frozen=True)
class Recheck:
    """A rule with a change that broke it, and the same check by another seed.

    again: the change by that seed, p corrected for those that broke the rule; None where there is none.
    reason: why the rule cannot be held to it, or an empty string. broken: whether it is broken there too.
    """

    rule: Rule
    change: Change
    again: Change | None = None
    reason: str = ""
    broken: bool = False

    @property
    def confirmed(self) -> bool | None:
        """Whether it is broken again; None where nothing is known of that."""
        return None if self.reason else self.broken


@dataclass(frozen=True)
class Confirmation:
    """All that broke a rule, by the seed of another saved run.

    run: that run, None where nothing was held against one. reason: why not, or an empty string.
    """

    rechecks: Sequence[Recheck]
    run: SavedRun | None = None
    reason: str = ""

    @property
    def seed(self) -> int | None:
        """The seed that confirms."""
        return None if self.run is None else self.run.run["seed"]

    @property
    def upheld(self) -> list[Broken]:
        """What stays: broken again, or nothing is known of it."""
        return [(one.rule, one.change) for one in self.rechecks if one.confirmed is not False]

    @property
    def dropped(self) -> list[Broken]:
        """What is not broken by the other seed."""
        return [(one.rule, one.change) for one in self.rechecks if one.confirmed is False]

    @property
    def verdicts(self) -> dict[tuple[Rule, int], bool | None]:
        """Whether each is confirmed, by rule and identity of the change; None where nothing is known."""
        return {(one.rule, id(one.change)): one.confirmed for one in self.rechecks}


def unconfirmed(found: Sequence[Broken], reason: str) -> Confirmation:
    """What broke a rule, where it is held against nothing."""
    return Confirmation([Recheck(rule, change, reason=reason) for rule, change in found], reason=reason)


def find_another(
    runs: Sequence[SavedRun], before: SavedRun, found: Sequence[Broken], seed: int
) -> SavedRun | None:
    """The saved run that confirms: of the name of the one before, by another seed than that of this run.

    runs: the oldest first. It judged the same methods, of the same source, on the same subject: a run of
    another text says nothing about what was before. Of several the one that has most of what broke a rule,
    rather at the same commit, and the last.
    """

    def fitness(run: SavedRun) -> tuple[int, bool]:
        return sum(_fits(run, before, change) for _, change in found), run.commit == before.commit

    others = [
        run
        for run in runs
        if run.name == before.name and isinstance(run.run.get("seed"), int) and run.run["seed"] != seed
    ]
    best = max(reversed(others), key=fitness, default=None)
    return best if best is not None and fitness(best)[0] else None


def _fits(run: SavedRun, before: SavedRun, change: Change) -> bool:
    method = change.after.method
    other = run.verdicts.get(change.after.key)
    sources = [one.run.get("sources") or {} for one in (run, before)]
    return (
        other is not None
        and other.fingerprint == change.after.fingerprint
        and sources[0].get(method) == sources[1].get(method)
    )


def how_to_save(before: SavedRun, seed: int) -> str:
    """What to type for a run that confirms."""
    return f"--xattr-seed={1 if seed == 0 else 0} --xattr-save={shlex.quote(before.name)}"


def confirm(found: Sequence[Broken], run: SavedRun, after: Runs) -> Confirmation:
    """Hold what broke a rule to the same rule by another seed.

    run: a saved run by that seed. after: what was judged anew by it.
    """
    rules = list(dict.fromkeys(rule for rule, _ in found))
    return Confirmation([one for rule in rules for one in _rechecks(rule, found, run, after)], run)


def _rechecks(rule: Rule, found: Sequence[Broken], run: SavedRun, after: Runs) -> Iterator[Recheck]:
    own = [change for other, change in found if other == rule]
    keys = [change.after.key for change in own]
    anew = compare(run.verdicts, {key: after[key] for key in keys if key in after})
    by_key = {change.after.key: change for change in anew}
    again = {id(change) for _, change in broken([rule], anew)}
    for key, change in zip(keys, own, strict=True):
        other = by_key.get(key)
        reason = _reason(rule, key in after, other)
        yield Recheck(rule, change, other, reason, other is not None and id(other) in again)


def _reason(rule: Rule, judged: bool, again: Change | None) -> str:
    """Why nothing follows from another seed, or an empty string."""
    if again is None:
        return "that run does not have it" if judged else "it was not judged again"
    if rule.is_of_figures and again.difference is None:
        figures = f"{again.before.status} before and {again.after.status} now"
        return again.reason or f"there it is {figures}, without figures to compare"
    return ""
