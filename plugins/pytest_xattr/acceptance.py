"""Failures that are accepted, in a pytest session: collected, written once, and told."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xattr_check.battery.acceptance import Acceptance, Change
    from xattr_check.battery.battery import Battery, Case

# What is told of each kind of change: of one case, and of several.
TOLD = {
    "new": ("1 failure is accepted in", "{count} failures are accepted in"),
    "renewed": (
        "1 failure that got worse is accepted anew in",
        "{count} failures that got worse are accepted anew in",
    ),
    "removed": ("1 check passes now, and is removed from", "{count} checks pass now, and are removed from"),
}


def prepare(config: pytest.Config, battery: "Battery") -> "Accepting | None":
    """What a session accepts into its file of settings, None where it does not. Raises UsageError."""
    if config.getoption("xattr_accept") is None:
        return None
    from pytest_xattr.arguments import settings_file
    from xattr_check.battery.acceptance import Acceptance

    return Accepting(Acceptance(battery, settings_file(config)), config.invocation_params.dir)


class Accepting:
    """What the items of a session change in what is expected, whichever process judged them.

    fault: why nothing was written; empty where it was, or where there was nothing to write.
    """

    def __init__(self, acceptance: "Acceptance", here: Path) -> None:
        self.acceptance = acceptance
        self._changes: dict[Case, Change] = {}
        self.fault = ""
        file = acceptance.file
        self._name = file.relative_to(here) if file.is_relative_to(here) else file

    def take(self, case: "Case", record: Mapping[str, Any] | None) -> None:
        """Note what changes of a case, by the last time that it was judged."""
        from xattr_check.battery.acceptance import Change

        self._changes.pop(case, None)
        if record is not None:
            self._changes[case] = Change.from_record(record)

    @property
    def changes(self) -> "dict[Case, Change]":
        """The changes in the order of the battery, whichever worker was faster."""
        return {case: self._changes[case] for case in self.acceptance.battery.cases if case in self._changes}

    def write(self, *, ended: bool) -> None:
        """Write the changes; ended: whether the run was cut short, so that not all is known."""
        from xattr_check.errors import UsageError

        if ended:
            self.fault = "the run ended before: nothing is accepted"
        elif self.changes:
            try:
                self.acceptance.write(self.changes)
            except UsageError as error:  # what was judged is told all the same
                self.fault = f"nothing is accepted: {error}"

    def tell(self, reporter: "pytest.TerminalReporter") -> None:
        """Write what was accepted, and where a reason is missing."""
        reporter.write_sep("=", "xattr-check: accepted")
        if self.fault:
            reporter.write_line(self.fault, red=True)
        elif not self.changes:
            reporter.write_line("nothing to accept: no check fails that is not expected to")
        else:
            for line in self._lines():
                reporter.write_line(line)

    def _lines(self) -> Iterator[str]:
        from xattr_check.wording import wrap

        for kind, (one, several) in TOLD.items():
            cases = [case for case, change in self.changes.items() if change.kind == kind]
            if cases:
                told = one if len(cases) == 1 else several.format(count=len(cases))
                yield from wrap(f"{told} {self._name}:", indent=0)
                yield from self._names(cases)
        expected = {case: change.entry for case, change in self.changes.items() if change.kind != "removed"}
        missing = [case for case, entry in expected.items() if not entry.reason]
        if missing:
            count = f"{len(missing)} of them" if len(missing) > 1 else "it"
            yield from wrap(f"no reason given for {count}: say it in {self._name}, at `reason`", indent=0)
        if expected:
            yield "from the next run on only what gets worse fails"

    @staticmethod
    def _names(cases: "list[Case]") -> Iterator[str]:
        """The checks of some cases, by method and subject."""
        from xattr_check.wording import wrap

        for (subject, method), group in groupby(cases, lambda case: (case.subject.name, case.method.name)):
            names = ", ".join(case.check.name for case in group)
            yield from wrap(f"{method} on {subject}: {names}", indent=4)
