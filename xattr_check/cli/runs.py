"""The commands `xattr-check report`, `history` and `leaderboard`: what saved runs say."""

import argparse
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from xattr_check.cli.parser import Parser
from xattr_check.config.xattr_yaml import of_folder
from xattr_check.errors import UsageError
from xattr_check.history import saved as history
from xattr_check.history.saved import SavedRun
from xattr_check.report import alike, standing
from xattr_check.report.looks import LOOKS, excuse
from xattr_check.report.table import summary
from xattr_check.storage.files import check_writable, write_bytes
from xattr_check.wording import WIDTH, nearest, wrap

LEADERBOARD = "leaderboard"
# Options of pytest that the leaderboard has as well.
PASSED_ON = ("model", "data", "checks", "budget", "seed", "device", "gates")
# pytest's exit codes for tests that ran: they passed, or some failed.
RAN = (0, 1)


def add_report(parser: Parser) -> None:
    """Declare the arguments of `report`."""
    parser.description = (
        "Write a report of saved runs as a single HTML file. Of several runs, the methods are shown side by "
        "side."
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        default=[""],
        help="a name, a file or git:REF (default: the last run)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, default=Path("report.html"))
    _add_storage(parser)
    parser.set_defaults(run=_report)


def add_history(parser: Parser) -> None:
    """Declare the arguments of `history`."""
    parser.add_argument("--method", metavar="SPEC", help="only of one method")
    parser.add_argument("--subject", metavar="NAME", help="only on one subject")
    parser.add_argument("--check", metavar="NAME", help="the figures of one check")
    parser.add_argument("--html", metavar="FILE", type=Path, help="trends of all checks, as one HTML file")
    _add_storage(parser)
    parser.set_defaults(run=_history)


def add_leaderboard(parser: Parser) -> None:
    """Declare the arguments of `leaderboard`."""
    parser.description = (
        "Judge all reference methods on a subject, or on several, on all cores, save the run under the name "
        f"{LEADERBOARD!r}, and rank them. An xattr.yaml in the working directory counts."
    )
    parser.add_argument(
        "--from", dest="source", metavar="RUN", help="rank the methods of a saved run; nothing is judged"
    )
    parser.add_argument(
        "--method", action="append", metavar="SPEC", help="judge this one beside the others; repeatable"
    )
    parser.add_argument(
        "--subject", action="append", metavar="SUBJECT", help="as --xattr-subject of pytest; repeatable"
    )
    for name in PASSED_ON:
        parser.add_argument(f"--{name}", metavar=name.upper(), help=f"as --xattr-{name} of pytest")
    parser.add_argument("-n", dest="workers", metavar="N", default="auto", help="processes (default: auto)")
    parser.add_argument("--html", metavar="FILE", type=Path, help="a report of it, as one HTML file")
    _add_storage(parser)
    parser.set_defaults(run=_leaderboard)


def _add_storage(parser: Parser) -> None:
    parser.add_argument(
        "--storage", metavar="DIR", type=Path, help="as --xattr-storage of pytest (default: .xattr)"
    )


def _storage(arguments: argparse.Namespace) -> Path:
    """The folder of saved runs: the one given, that of the xattr.yaml here, or the usual one."""
    if arguments.storage is not None:
        return Path(arguments.storage)
    return Path(of_folder(Path()).storage)


def _find_run(storage: Path, reference: str, option: str) -> SavedRun:
    return history.find(storage, reference, Path(), option)


def _write(file: Path, option: str, page: Callable[[], str]) -> None:
    check_writable(file, option)
    write_bytes(file, page().encode())
    print(f"report: {file.resolve().as_uri()}")


def _report(arguments: argparse.Namespace) -> int:
    from xattr_check.report import page as report

    storage = _storage(arguments)
    runs = [_find_run(storage, reference, "report") for reference in arguments.runs]
    sources = [report.ReportedRun.of(run) for run in runs]
    if not any(source.verdicts for source in sources):
        raise UsageError(f"no verdict is in {', '.join(map(str, runs))}", option="report")
    _write(arguments.output, "--output", lambda: report.render(sources, history.saved_runs(storage)))
    return 0


def _history(arguments: argparse.Namespace) -> int:
    storage = _storage(arguments)
    runs = history.saved_runs(storage)
    if not runs:
        folder = history.folder_of(storage)
        raise UsageError(
            f"no run is saved in {folder} yet", option="history", hint="save one with --xattr-save"
        )
    asked = {kind: getattr(arguments, kind) for kind in ("method", "subject", "check")}
    wanted = {kind: name for kind, name in asked.items() if name is not None}
    for kind, name in wanted.items():
        there = {getattr(key, kind) for run in runs for key in run.verdicts}
        if name not in there:
            raise UsageError("in no saved run", option=f"--{kind}", value=name, hint=nearest(name, there))
    lines = [line for run in runs for line in _lines(run, wanted)]
    if not lines:
        told = " and ".join(f"{kind} {name!r}" for kind, name in wanted.items())
        raise UsageError(f"no saved run has a verdict of {told}", option="history")
    for line in lines:
        print(line[:WIDTH])
    if arguments.html is not None:
        from xattr_check.report import page as report

        _write(arguments.html, "--html", lambda: report.trends(runs, wanted))
    return 0


def _lines(run: SavedRun, wanted: Mapping[str, str]) -> list[str]:
    """What the table says of a run: how many verdicts of each kind, or each figure of a check."""
    found = run.verdicts_of(wanted)
    if not found:
        return []
    dirty = "+" if run.commit and run.run["git"].get("dirty") else ""
    partial = f", interrupted, {run.missing} missing" if run.missing else ""
    count = len({verdict.method for verdict in found})
    told = f"{count} method{'s' if count != 1 else ''}: {summary(found)}"
    if "check" in wanted:
        told = f"seed {run.run.get('seed')}"
    line = f"{run.started:%Y-%m-%d %H:%M}  {run.name[:20]:<20} {run.commit[:8] + dirty:<9} {told}{partial}"
    lines = textwrap.wrap(line, WIDTH, subsequent_indent=" " * 49, break_on_hyphens=False)
    for verdict in found if "check" in wanted else ():
        mark = f"fail ({excuse(verdict)})" if verdict.excused else LOOKS[verdict.status].mark
        text = f"{verdict.method} on {verdict.subject}: {mark} {verdict.interval or ''}".rstrip()
        lines += wrap(text, indent=4)
    return lines


def _leaderboard(arguments: argparse.Namespace) -> int:
    storage = _storage(arguments)
    if arguments.html is not None:
        check_writable(arguments.html, "--html")
    if arguments.source is None:
        code = _judge(arguments, storage)
        if code not in RAN:
            return code
    run = _find_run(storage, LEADERBOARD if arguments.source is None else arguments.source, "--from")
    verdicts = list(run.verdicts.values())
    subjects = sorted({verdict.subject for verdict in verdicts})
    print(f"\n{run} on {', '.join(subjects)}, the fewest failures first")
    for line, _ in (*standing.render_lines(verdicts), *alike.render_lines(verdicts)):
        print(line)
    if arguments.html is not None:
        from xattr_check.report import page as report

        saved = history.saved_runs(storage)
        _write(arguments.html, "--html", lambda: report.render([report.ReportedRun.of(run)], saved))
    return 0


def _judge(arguments: argparse.Namespace, storage: Path) -> int:
    """Run the battery with pytest, whose exit code is returned."""
    options: list[str] = [f"--xattr-method={spec}" for spec in ("all", *(arguments.method or ()))]
    options += [f"--xattr-subject={spec}" for spec in arguments.subject or ()]
    given: Sequence[tuple[str, str | None]] = [(name, getattr(arguments, name)) for name in PASSED_ON]
    options += [f"--xattr-{name}={value}" for name, value in given if value is not None]
    options += [f"--xattr-storage={storage.resolve()}", f"--xattr-save={LEADERBOARD}"]
    quiet = ["-q", "--tb=no", "--no-summary", "-p", "no:cacheprovider"]
    return subprocess.call([sys.executable, "-m", "pytest", *options, "-n", arguments.workers, *quiet])
