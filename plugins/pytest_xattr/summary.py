"""The table in pytest's terminal summary."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xattr_check.config import Settings

MARKUP: Mapping[str, dict[str, bool]] = {
    "head": {"bold": True},
    "text": {},
    "pass": {"green": True},
    "fail": {"red": True},
    "error": {"red": True},
    "xpass": {"red": True},
    "undecided": {"yellow": True},
    "invalid": {"yellow": True},
    "xfail": {"yellow": True},
    "not_applicable": {"light": True},
}
# Up to so many methods are shown in full without -v.
FULL = 2


def write(
    reporter: "pytest.TerminalReporter", results: Sequence[Mapping[str, Any]], settings: "Settings"
) -> None:
    """Write the verdicts as a table; with -v the controls beside them, with -q the failures alone."""
    from xattr_check import table
    from xattr_check.verdict import Verdict

    if not results:
        return
    verdicts = [Verdict.from_record(record) for record in results]
    verbose = reporter.config.option.verbose
    many = len({verdict.method for verdict in verdicts}) > FULL
    reporter.write_sep("=", "xattr-check")
    shown = table.lines(verdicts, controls=verbose > 0, brief=verbose < 0 or (many and verbose < 1))
    for line, status in shown:
        reporter.write_line(line, **MARKUP[status])
    if settings.json is not None:
        reporter.write_line(f"verdicts written to {settings.json}")
