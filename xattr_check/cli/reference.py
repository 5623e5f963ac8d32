"""The command `xattr-check reference`: methods, checks and subjects as one page of Markdown."""

import argparse
from pathlib import Path

from xattr_check.cli.parser import Parser
from xattr_check.errors import UsageError


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("--write", metavar="FILE", type=Path, help="into a file instead of the terminal")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from xattr_check.report import reference

    text = reference.document()
    if arguments.write is None:
        print(text.rstrip())
        return 0
    try:
        arguments.write.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            option="--write",
            value=str(arguments.write),
            expected="a file that can be written",
            came=str(error.strerror),
        ) from None
    print(f"written to {arguments.write}")
    return 0
