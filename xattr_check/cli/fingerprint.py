"""The command `xattr-check fingerprint`: which known method the maps of a method are most like."""

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from xattr_check.battery.battery import run_of
from xattr_check.battery.subjects import only_subject
from xattr_check.cli.parser import Parser
from xattr_check.config.loaders import load_method, load_methods
from xattr_check.config.xattr_yaml import of_folder
from xattr_check.core import registry
from xattr_check.core.method import Method
from xattr_check.core.run import Draw
from xattr_check.diagnosis.fingerprint import drawn, from_means, known_scores, nearest, scores
from xattr_check.diagnosis.price import affordable
from xattr_check.errors import MethodError, Undefined, UsageError


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Say what the maps of a method are most like: a reference method, a control that knows nothing, or a "
        "control times a reference method. The figure is the mean rank correlation over the subject's inputs."
    )
    parser.add_argument("method", metavar="SPEC", help="as --xattr-method of pytest")
    parser.add_argument("--subject", metavar="SUBJECT", help="as --xattr-subject of pytest")
    parser.add_argument(
        "--among",
        nargs="+",
        metavar="SPEC",
        help="other methods, whatever they take (default: the reference methods that fit into --minutes)",
    )
    parser.add_argument(
        "--minutes", type=float, metavar="N", default=1.0, help="(default: %(default)g, with the cheapest)"
    )
    parser.add_argument("--count", type=int, metavar="N", default=5, help="how many (default: %(default)s)")
    parser.add_argument("--storage", metavar="DIR", help="as --xattr-storage of pytest")
    parser.add_argument("--device", metavar="auto|cpu|cuda[:N]|…", help="default: auto")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.count < 1:
        raise UsageError(option="--count", value=arguments.count, expected="at least 1")
    subjects = None if arguments.subject is None else [arguments.subject]
    if not 0 < arguments.minutes < math.inf:
        raise UsageError(
            option="--minutes", value=arguments.minutes, expected="a number above 0, for example 5"
        )
    settings = of_folder(Path()).override(
        subjects=subjects, storage=arguments.storage, device=arguments.device
    )
    if subjects is not None:  # a model that a file names would stand in its place
        settings = replace(settings, model=None, data=None)
    method = load_method(arguments.method, "fingerprint")
    among = load_methods(arguments.among or ["all"], "--among")
    others = {one.name: one for one in among if one.name != method.name}
    controls = {name: one for name, one in registry.controls().items() if one.control == "negative"}
    run = run_of(settings, progress=lambda label: print(label, file=sys.stderr, flush=True))
    subject = only_subject(settings).on(run.device)
    draw = drawn(subject, run)
    if lacking := sorted(method.needs - subject.offers):
        raise UsageError(
            f"needs {' and '.join(lacking)}, which subject {subject.name!r} does not offer",
            option="fingerprint",
            value=method.name,
        )
    try:
        own = scores(method, draw)
    except (MethodError, Undefined) as error:
        raise UsageError(
            f"it has no maps of {subject.name!r}: {error}", option="fingerprint", value=method.name
        ) from None
    others = {name: one for name, one in from_means(others, subject).items() if name != method.name}
    if arguments.among is None:
        others = _affordable(others, draw, arguments.minutes)
    found = nearest(own, known_scores(others, draw), known_scores(controls, draw), arguments.count)
    for likeness in found:
        print(likeness)
    return 0


def _affordable(others: Mapping[str, Method], draw: Draw, minutes: float) -> dict[str, Method]:
    """Those that fit into so many minutes; it is told which do not."""
    chosen = affordable(others, draw, 60 * minutes)
    if left := [name for name in others if name not in chosen]:
        told = f"left out, since they do not fit into --minutes {minutes:g}: {', '.join(left)}"
        print(f"{told}; --among names methods that are asked all the same", file=sys.stderr, flush=True)
    return chosen
