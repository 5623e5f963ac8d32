"""The comparison with a saved run, in a pytest session."""

import warnings
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xattr.summary import MARKUP

if TYPE_CHECKING:
    from xattr_check.battery.battery import Battery
    from xattr_check.config.settings import Settings
    from xattr_check.core.verdict import Key, Verdict
    from xattr_check.history.compare import Change
    from xattr_check.history.confirmation import Confirmation
    from xattr_check.history.rules import Rule
    from xattr_check.history.saved import SavedRun


def prepare(config: pytest.Config, settings: "Settings", battery: "Battery") -> "Comparison | None":
    """The comparison that the settings ask for, its run read before anything is judged. Raises UsageError."""
    if settings.compare is None:
        return None
    from xattr_check.history import rules as comparison_rules
    from xattr_check.history import saved as history

    given = config.getoption("xattr_compare")
    here = config.rootpath if given is None else config.invocation_params.dir
    # Told beside the table, whatever becomes of warnings while pytest is configured.
    with settings.placing_mistakes(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", history.HistoryWarning)
        rules = comparison_rules.parse(settings.compare_fail)
        before = history.find(
            Path(settings.storage),
            settings.compare,
            here,
            fitness=partial(_fitness, battery),
        )
    return Comparison(before, rules, [str(one.message) for one in caught])


def _fitness(battery: "Battery", run: "SavedRun") -> int:
    """How well a saved run fits a battery: on none of its methods and checks, on them, and on more subjects.

    By their specs: subjects need not be loaded yet, so that their names are not known.
    """
    asked = {(case.method.name, case.check.name) for case in battery.cases}
    shared = any((key.method, key.check) in asked for key in run.verdicts)
    if not shared or run.run.get("seed") != battery.settings.seed:
        return 0
    return 1 + len(run.subjects & {subject.label for subject in battery.subjects})


class Comparison:
    """This run beside a saved one."""

    def __init__(self, before: "SavedRun", rules: "Sequence[Rule]", unread: Sequence[str] = ()) -> None:
        self.before, self.rules, self.unread = before, rules, unread
        self.changes: Sequence[Change] = ()
        self.broken: Sequence[tuple[Rule, Change]] = ()
        self.idle: Sequence[Rule] = ()
        self.confirmation: Confirmation | None = None

    def take(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Compare the results of this run."""
        from xattr_check.core.verdict import Verdict
        from xattr_check.history import compare
        from xattr_check.history import rules as comparison_rules

        verdicts = [Verdict.from_record(record) for record in results]
        after = {verdict.key: verdict for verdict in verdicts}
        self.changes = compare.compare(self.before.verdicts, after)
        self.broken = list(comparison_rules.broken(self.rules, self.changes))
        self.idle = comparison_rules.held_to_nothing(self.rules, self.changes)

    def confirm(self, battery: "Battery", *, ended: bool) -> bool:
        """Judge once more, by the seed of another saved run, what broke a rule, and drop what does not then.

        ended: whether the run was cut short, so that nothing more is to be judged. Returns whether the user
        let it come to its end: what is not judged again stays.
        """
        if not self.broken:
            return True
        from xattr_check.history import confirmation
        from xattr_check.history import saved as history

        if ended:
            self.confirmation = confirmation.unconfirmed(self.broken, "the run ended before")
            return True
        settings = battery.settings
        with warnings.catch_warnings():  # told when the comparison was prepared
            warnings.simplefilter("ignore", history.HistoryWarning)
            runs = history.saved_runs(Path(settings.storage))
        run = confirmation.find_another(runs, self.before, self.broken, settings.seed)
        if run is None:
            wanted = confirmation.how_to_save(self.before, settings.seed)
            reason = f"where the run before was saved, save one with {wanted}"
            self.confirmation = confirmation.unconfirmed(self.broken, reason)
            return True
        keys = {change.after.key for _, change in self.broken}
        after, whole = _judge_again(battery.by_seed(run.run["seed"]), keys)
        self.confirmation = confirmation.confirm(self.broken, run, after)
        self.broken = self.confirmation.upheld
        return whole

    @property
    def closes(self) -> bool:
        """Whether the run has to fail: a rule is broken, or there is nothing that one could be held to."""
        return bool(self.broken or self.idle)

    @property
    def for_reports(self) -> dict[str, Any]:
        """What the report and the summary say of it."""
        return {
            "compared": str(self.before),
            "changes": self.changes,
            "broken": self.broken,
            "idle": self.idle,
            "confirmation": self.confirmation,
        }

    @property
    def record(self) -> dict[str, Any]:
        """What a program reads of it: the rules broken, with what another seed says of each."""
        dropped = [] if self.confirmation is None else self.confirmation.dropped
        known = {} if self.confirmation is None else self.confirmation.verdicts
        return {
            "run": str(self.before),
            "confirmed_by": None if self.confirmation is None else self.confirmation.seed,
            "broken": [
                {
                    "subject": change.after.subject,
                    "method": change.after.method,
                    "check": change.after.check,
                    "rule": rule.text,
                    "confirmed": known.get((rule, id(change))),
                }
                for rule, change in (*self.broken, *dropped)
            ],
            "idle": [rule.text for rule in self.idle],
        }

    def write(self, reporter: "pytest.TerminalReporter") -> None:
        """Write the table."""
        from xattr_check.report import comparison as comparison_table

        reporter.write_sep("=", "xattr-check: compared")
        for fault in self.unread:
            reporter.write_line(fault, yellow=True)
        reporter.write_line(f"with {self.before}")
        if not self.changes:
            reporter.write_line("nothing is compared: no check of a method is in both runs", yellow=True)
        all_rows = reporter.config.option.verbose > 0
        lines = comparison_table.render_lines(
            self.changes, self.broken, confirmation=self.confirmation, all_rows=all_rows
        )
        for line, colour in lines:
            reporter.write_line(line, **MARKUP[colour])
        if self.broken:
            count = len({id(change) for _, change in self.broken})
            told = "1 change is" if count == 1 else f"{count} changes are"
            reporter.write_line(f"{told} not allowed, so the run fails", red=True)
        for sentence in comparison_table.confirmation_sentences(self.confirmation):
            reporter.write_line(sentence, yellow=True)
        for rule in self.idle:
            reporter.write_line(
                f"{rule.text}: nothing that it speaks of was compared, so the run fails", red=True
            )


def _judge_again(battery: "Battery", keys: "Set[Key]") -> "tuple[dict[Key, Verdict], bool]":
    """Verdicts of a battery on some of its cases, and whether the user let it come to its end.

    What cannot be judged has none: that is the check's own fault, which its item has told.
    """
    found: dict[Key, Verdict] = {}
    for case in battery.cases:
        if case.key in keys:
            told = f"{case.check.name} of {case.method.name}"
            battery.run.progress(f"{told} once more, by seed {battery.settings.seed}")
            try:
                found[case.key] = battery.judge(case)
            except KeyboardInterrupt:
                return found, False
            except Exception:
                continue
    return found, True
