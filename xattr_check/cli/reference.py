"""The command `xattr-check reference`: methods, checks and subjects as one page of Markdown."""

import argparse
from pathlib import Path

from xattr_check.cli.parser import Parser
from xattr_check.storage.files import tell_unwritable


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
    with tell_unwritable("--write", arguments.write):
        arguments.write.write_text(text, encoding="utf-8")
    print(f"written to {arguments.write}")
    return 0
