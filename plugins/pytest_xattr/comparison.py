"""The comparison with a saved run, in a pytest session."""

import warnings
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xattr.summary import MARKUP

if TYPE_CHECKING:
    from xattr_check.config.settings import Settings
    from xattr_check.history.compare import Change
    from xattr_check.history.rules import Rule
    from xattr_check.history.saved import SavedRun


def prepare(config: pytest.Config, settings: "Settings", pairs: Set[tuple[str, str]]) -> "Comparison | None":
    """The comparison that the settings ask for, its run read before anything is judged. Raises UsageError.

    pairs: methods and checks of this run; a run that has some of them, by the same seed, is preferred.
    """
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
            fits=lambda run: run.run.get("seed") == settings.seed and bool(run.verdicts.keys() & pairs),
        )
    return Comparison(before, rules, [str(one.message) for one in caught])


class Comparison:
    """This run beside a saved one."""

    def __init__(self, before: "SavedRun", rules: "Sequence[Rule]", unread: Sequence[str] = ()) -> None:
        self.before, self.rules, self.unread = before, rules, unread
        self.changes: Sequence[Change] = ()
        self.broken: Sequence[tuple[Rule, Change]] = ()
        self.idle: Sequence[Rule] = ()

    def take(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Compare the results of this run."""
        from xattr_check.core.verdict import Verdict
        from xattr_check.history import compare
        from xattr_check.history import rules as comparison_rules

        verdicts = [Verdict.from_record(record) for record in results]
        after = {(verdict.method, verdict.check): verdict for verdict in verdicts}
        self.changes = compare.compare(self.before.verdicts, after)
        self.broken = list(comparison_rules.broken(self.rules, self.changes))
        self.idle = comparison_rules.held_to_nothing(self.rules, self.changes)

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
        for line, colour in comparison_table.render_lines(self.changes, self.broken, all_rows=all_rows):
            reporter.write_line(line, **MARKUP[colour])
        if self.broken:
            count = len({id(change) for _, change in self.broken})
            told = "1 change is" if count == 1 else f"{count} changes are"
            reporter.write_line(f"{told} not allowed, so the run fails", red=True)
        for rule in self.idle:
            reporter.write_line(
                f"{rule.text}: nothing that it speaks of was compared, so the run fails", red=True
            )
