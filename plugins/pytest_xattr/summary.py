"""The table in pytest's terminal summary."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xattr.items import picture_folder

if TYPE_CHECKING:
    from xattr_check.config.settings import Settings

MARKUP: Mapping[str, dict[str, bool]] = {
    "head": {"bold": True},
    "text": {},
    "pass": {"green": True},
    "fail": {"red": True},
    "unclear": {"yellow": True},
    "none": {"light": True},
}
# Up to so many methods, or methods on different subjects, are shown in full without -v.
FULL = 2


def write(
    reporter: "pytest.TerminalReporter", results: Sequence[Mapping[str, Any]], settings: "Settings"
) -> None:
    """Write the verdicts as a table; with -v the controls beside them, with -q the failures alone."""
    from xattr_check.core.verdict import Verdict
    from xattr_check.report import table

    if not results:
        return
    verdicts = [Verdict.from_record(record) for record in results]
    verbose = reporter.config.option.verbose
    many = len({table.group_of(verdict) for verdict in verdicts}) > FULL
    reporter.write_sep("=", "xattr-check")
    brief = verbose < 0 or (many and verbose < 1)
    for line, status in table.render_lines(verdicts, controls=verbose > 0, brief=brief):
        reporter.write_line(line, **MARKUP[status])
    if not brief and (advice := table.advice(verdicts)):
        reporter.write_line(advice)
    for what, file in (("verdicts", settings.json), ("summary", settings.markdown)):
        if file is not None:
            reporter.write_line(f"{what} written to {file}")


def write_why_nothing(
    reporter: "pytest.TerminalReporter | None", results: Sequence[Mapping[str, Any]], after_dots: bool = False
) -> None:
    """Say in a line why nothing was judged, where nothing was, whatever else is left out."""
    from xattr_check.core.verdict import Verdict
    from xattr_check.report import table

    if reporter is None or not (told := table.why_nothing([Verdict.from_record(one) for one in results])):
        return
    if after_dots:
        reporter.write_line("")
    reporter.write_line(told, yellow=True)


def write_pictures(
    reporter: "pytest.TerminalReporter", settings: "Settings", count: int, faults: Sequence[str]
) -> None:
    """Say where the pictures of a run are, if there are any, and what kept others from being written."""
    folder, here = picture_folder(settings), reporter.config.invocation_params.dir
    if folder.is_relative_to(here):
        folder = folder.relative_to(here)
    if count:
        reporter.write_line(f"pictures are in {folder}")
    if faults:
        number = f"{len(faults)} picture{'s' if len(faults) > 1 else ''}"
        reporter.write_line(f"{number} could not be written to {folder}: {faults[0]}", yellow=True)
