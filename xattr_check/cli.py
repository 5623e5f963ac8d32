"""The command `xattr-check`: what is installed, and the reference of it."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from xattr_check import reference, registry
from xattr_check.errors import UsageError
from xattr_check.specs import nearest

KINDS = ("methods", "checks", "subjects")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xattr-check", description=__doc__.partition(": ")[2].strip())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the installed methods, checks or subjects")
    listing.add_argument("kind", choices=KINDS)
    listing.add_argument("--json", action="store_true", help="as JSON, with all that is declared")
    show = commands.add_parser("show", help="what a check holds, where its line is, and where it comes from")
    show.add_argument("check")
    write = commands.add_parser(
        "reference", help="the reference of methods, checks and subjects, as Markdown"
    )
    write.add_argument("--write", metavar="FILE", type=Path, help="into a file instead of the terminal")
    return parser


def _found(kind: str) -> Mapping[str, dict[str, object]]:
    if kind == "methods":
        return {name: reference.of_method(one) for name, one in registry.methods().items()}
    if kind == "checks":
        return {name: reference.of_check(one) for name, one in registry.checks().items()}
    return {name: reference.of_subject(one) for name, one in registry.subjects().items()}


def _list(kind: str, as_json: bool) -> str:
    found = _found(kind)
    if as_json:
        return json.dumps(list(found.values()), indent=2, ensure_ascii=False, default=str)
    width = max(map(len, found), default=0)
    return "\n".join(f"{name:<{width}}  {entry['statement']}" for name, entry in found.items())


def _show(name: str) -> str:
    known = registry.checks()
    if name not in known:
        raise UsageError(f"show {name!r}: no check of that name{nearest(name, known)}")
    return reference.text_of_check(known[name])


def _run(arguments: argparse.Namespace) -> str:
    if arguments.command == "list":
        return _list(arguments.kind, arguments.json)
    if arguments.command == "show":
        return _show(arguments.check)
    text = reference.document()
    if arguments.write is None:
        return text.rstrip()
    try:
        arguments.write.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--write={str(arguments.write)!r}: expected a file that can be written, came {error.strerror}"
        ) from None
    return f"written to {arguments.write}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 where it cannot be understood."""
    try:
        print(_run(_parser().parse_args(arguments)))
    except UsageError as error:
        print(f"xattr-check: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `xattr-check list methods | head`
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
