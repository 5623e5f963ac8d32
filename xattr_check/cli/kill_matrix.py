"""The command `xattr-check kill-matrix`: the battery measured as a diagnostic test is, on broken methods."""

import argparse
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from xattr_check.cli.parser import INTERRUPTED, Parser
from xattr_check.config.loaders import load_methods
from xattr_check.config.settings import DEFAULT_SUBJECT, Settings
from xattr_check.core.run import OnProgress
from xattr_check.diagnosis.rows import Base
from xattr_check.diagnosis.work import Judged, Plan, judge, names_by_hand
from xattr_check.diagnosis.workers import SILENCE
from xattr_check.errors import UsageError
from xattr_check.history.document import write
from xattr_check.mutation.mutants import operators
from xattr_check.report.kills import render_lines
from xattr_check.storage.files import check_writable, keep_out_of_git, make_folder, tell_unwritable
from xattr_check.wording import nearest

# What a whole matrix may take, where nothing else is said.
MINUTES = 180
# Methods of which it is said why they are not broken.
MOST_TOLD = 3


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Break right methods, each in the ways of real code, and say which of these mutants a required check "
        "kills that passes the right method. A mutant is judged until two checks have killed it. What was "
        "judged is kept in the storage: an interrupted matrix goes on where it stopped. One of them is "
        "judged by pytest --xattr-method='mutant:OPERATOR@SPEC'."
    )
    parser.add_argument(
        "--subject", metavar="SUBJECT", default=DEFAULT_SUBJECT, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="SPEC",
        help="the right methods (default: all reference methods that fail no required check)",
    )
    parser.add_argument(
        "--minutes",
        metavar="N",
        help="judge the cheapest methods that fit into so many, and begin nothing after them "
        f"(default: {MINUTES}, and no end where --methods names them)",
    )
    parser.add_argument(
        "--operators", metavar="NAMES", help="some of them, with commas between (default: all)"
    )
    parser.add_argument("--list", action="store_true", help="say what the operators do, and judge nothing")
    parser.add_argument("--checks", metavar="EXPR", help="as --xattr-checks of pytest")
    parser.add_argument("--budget", metavar="BUDGET", default="quick", help="(default: %(default)s)")
    parser.add_argument(
        "--seeds", metavar="N,N", default="0", help="with commas between (default: %(default)s)"
    )
    parser.add_argument(
        "--doses", action="store_true", help="seek the smallest dose that is killed of what is mixed in"
    )
    parser.add_argument("--thorough", action="store_true", help="let all checks judge each mutant")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="FILE",
        help="a file of methods that were broken by hand, with their names in CAUGHT_BY; repeatable",
    )
    parser.add_argument("-n", dest="processes", metavar="N", default="auto", help="processes (default: auto)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what came of each mutant")
    parser.add_argument("--storage", metavar="DIR", default=".xattr", help="(default: %(default)s)")
    parser.add_argument("--device", metavar="auto|cpu|cuda[:N]|…", default="auto", help="default: auto")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        for name, one in operators().items():
            print(f"{name}\n    {one.statement}\n    As where {one.defect}.")
        return 0
    if arguments.json is not None:
        check_writable(arguments.json, "--json")
    plan = _plan(arguments)
    storage = Path(plan.settings.storage)
    with tell_unwritable("--storage", storage, "folder", "pass --storage=DIR"):
        make_folder(plan.folder)
        keep_out_of_git(plan.folder)
    try:
        judged = judge(plan, _processes(arguments.processes), tell=_tell, progress=_now_and_then())
    except KeyboardInterrupt:
        _tell("xattr-check: interrupted; what was judged is kept, and the same command goes on from there")
        return INTERRUPTED
    for line in render_lines(judged):
        print(line)
    if arguments.json is not None:
        write(arguments.json, judged.record())
    _expect_something(judged)
    return 0


def _expect_something(judged: Judged) -> None:
    """Raise UsageError where no method could be broken, so that nothing is known of the battery."""
    if judged.by_hand or any(judged.plan.takes(base) and base.passed for base in judged.bases):
        return
    told = [f"{base.method}: {_reason(base)}" for base in judged.bases]
    more = f", and {len(told) - MOST_TOLD} others" if len(told) > MOST_TOLD else ""
    raise UsageError(
        "nothing to break",
        option="--methods",
        expected="a method that passes a required check on this subject",
        came="; ".join(told[:MOST_TOLD]) + more,
    )


def _reason(base: Base) -> str:
    """Why a right method is not broken."""
    if base.error:
        return base.error.splitlines()[0]
    return f"fails {', '.join(base.failed)}" if base.failed else "passes no required check"


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _now_and_then() -> OnProgress:
    """Tells of what this process computes after a while in which it told nothing."""
    last = time.monotonic()

    def progress(label: str) -> None:
        nonlocal last
        if time.monotonic() - last >= SILENCE:
            last = time.monotonic()
            _tell(f"still at work: {label}")

    return progress


def _plan(arguments: argparse.Namespace) -> Plan:
    """What was asked for. Raises UsageError."""
    settings = replace(
        Settings(),
        checks=arguments.checks,
        budget=arguments.budget,
        storage=arguments.storage,
        device=arguments.device,
    )
    methods = load_methods(arguments.methods or ["all"], "--methods")
    return Plan(
        settings=settings,
        subject=arguments.subject,
        methods=tuple(one.name for one in methods),
        operators=_operators(arguments.operators),
        seeds=_seeds(arguments.seeds),
        by_hand=tuple(spec for file in arguments.also for spec in names_by_hand(file)),
        passing=arguments.methods is None,
        minutes=_minutes(arguments.minutes, arguments.methods is None),
        doses=arguments.doses,
        thorough=arguments.thorough,
    )


def _operators(given: str | None) -> tuple[str, ...]:
    """The names of operators, all where none is given. Raises UsageError."""
    known = operators()
    names = list(known) if given is None else [name.strip() for name in given.split(",")]
    for name in names:
        if name not in known:
            raise UsageError(
                f"no operator {name!r}", option="--operators", value=given, hint=nearest(name, known)
            )
    return tuple(dict.fromkeys(names))


def _seeds(given: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(seed) for seed in given.split(",")))
    except ValueError:
        raise UsageError(
            option="--seeds", value=given, expected="whole numbers with commas between, for example 0,1,2"
        ) from None


def _minutes(given: str | None, everything: bool) -> float | None:
    """How long a matrix may take, None for any time; everything: of all methods. Raises UsageError."""
    if given is None:
        return MINUTES if everything else None
    try:
        minutes = float(given)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise UsageError(option="--minutes", value=given, expected="a number above 0, for example 20")
    return minutes


def _processes(given: str) -> int:
    """How many processes; as many as there are cores for `auto`. Raises UsageError."""
    if given == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not given.isdigit() or int(given) < 1:
        raise UsageError(option="-n", value=given, expected="auto or a whole number above 0")
    return int(given)
