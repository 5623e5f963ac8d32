"""The command `xattr-check`: what is installed, features, concepts, what models use, and what runs say."""

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence

from xattr_check.cli.parser import Parser
from xattr_check.errors import UsageError

# Each with the function that declares its arguments and what runs it, imported for the one that is typed.
COMMANDS = {
    "list": ("catalogue:add_list", "the installed methods, checks or subjects"),
    "show": ("catalogue:add_show", "what a check holds, where its line is, and where it comes from"),
    "reference": ("reference:add", "the reference of methods, checks and subjects, as Markdown"),
    "generate": (
        "generate:add",
        "features made with a model in the loop, certified to do what a scenario says",
    ),
    "concepts": ("concepts:add", "which concepts units of a subject's networks detect"),
    "model": ("model:add", "what a subject's networks use: regions, background, colours, side by side"),
    "report": ("runs:add_report", "a report of saved runs, as one HTML file"),
    "history": ("runs:add_history", "the saved runs, and how the figures of a check went"),
    "leaderboard": ("runs:add_leaderboard", "all reference methods on a subject: which may be believed"),
    "kill-matrix": ("kill_matrix:add", "which broken methods the battery finds"),
    "fingerprint": ("fingerprint:add", "which known method the maps of a method are most like"),
    "new": ("new:add", "a check, a method or a subject to start from, with its test"),
    "accept": ("accept:add", "judge, and write what fails into xattr.yaml as expected"),
    "init": ("init:add", "write a commented xattr.yaml to start from"),
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments as an object; leaves with 2 for a mistake."""
    # Options are those of pytest without their prefix, which is understood as well.
    given = [f"--{one.removeprefix('--xattr-')}" if one.startswith("--xattr-") else one for one in arguments]
    parser = Parser(prog="xattr-check", description=__doc__.partition(": ")[2].strip())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((one for one in given if not one.startswith("-")), None)
    for name, (where, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == chosen:
            module, _, function = where.partition(":")
            getattr(importlib.import_module(f"xattr_check.cli.{module}"), function)(command)
    return parser.parse_args(given)


def _tell(message: Warning | str, *_: object, **__: object) -> None:
    """A warning in one sentence, as mistakes are told."""
    print(f"xattr-check: {message}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, or 2 where it cannot be understood."""
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _tell
            code: int = parsed.run(parsed)
    except UsageError as error:
        print(f"xattr-check: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `xattr-check list methods | head`
        sys.stderr.close()
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
