"""The command `xattr-check accept`: what fails today is written down, so that only what gets worse fails."""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from xattr_check.cli.parser import Parser
from xattr_check.config.yaml_nodes import NAME

# Options of pytest that it has as well.
PASSED_ON = ("model", "data", "checks", "budget", "seed", "device", "gates", "storage")


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.description = (
        f"Judge what {NAME} says, or what is named here, and write each failure into its expected_failures, "
        "with what was seen and a place for the reason. What passes is removed from there. A file that is "
        "not there is made."
    )
    parser.epilog = "Exit codes are pytest's: 0 where all that fails is accepted, 4 for a mistake."
    for name in ("method", "subject"):
        parser.add_argument(
            f"--{name}", action="append", metavar="SPEC", help=f"as --xattr-{name} of pytest; repeatable"
        )
    for name in PASSED_ON:
        parser.add_argument(f"--{name}", metavar=name.upper(), help=f"as --xattr-{name} of pytest")
    parser.add_argument("-n", dest="workers", metavar="N", help="processes (default: this one)")
    parser.set_defaults(run=_accept)


def _accept(arguments: argparse.Namespace) -> int:
    options = [
        f"--xattr-{name}={one}" for name in ("method", "subject") for one in getattr(arguments, name) or ()
    ]
    given = {name: getattr(arguments, name) for name in PASSED_ON}
    options += [f"--xattr-{name}={one}" for name, one in given.items() if one is not None]
    options += [] if arguments.workers is None else ["-n", arguments.workers]
    return accept(options)


def accept(options: Sequence[str]) -> int:
    """Run the battery with pytest, accepting what fails; its exit code is returned."""
    command = [sys.executable, "-m", "pytest", "--xattr-accept", *options, "-p", "no:cacheprovider"]
    return subprocess.call(command)
