"""The command `xattr-check`: what is installed, generated features, and what saved runs say."""

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from xattr_check import cli_generate, cli_init, cli_runs, reference, registry
from xattr_check.errors import UsageError
from xattr_check.specs import nearest

KINDS = ("methods", "checks", "subjects")


def _parser() -> cli_generate.Parser:
    parser = cli_generate.Parser(prog="xattr-check", description=__doc__.partition(": ")[2].strip())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the installed methods, checks or subjects")
    listing.add_argument("kind", choices=KINDS)
    listing.add_argument("--json", action="store_true", help="as JSON, with all that is declared")
    listing.set_defaults(run=_list)
    show = commands.add_parser("show", help="what a check holds, where its line is, and where it comes from")
    show.add_argument("check")
    show.set_defaults(run=_show)
    write = commands.add_parser(
        "reference", help="the reference of methods, checks and subjects, as Markdown"
    )
    write.add_argument("--write", metavar="FILE", type=Path, help="into a file instead of the terminal")
    write.set_defaults(run=_reference)
    cli_generate.add_parser(commands)
    cli_runs.add_parsers(commands)
    cli_init.add_parser(commands)
    return parser


def _found(kind: str) -> Mapping[str, dict[str, object]]:
    if kind == "methods":
        return {name: reference.of_method(one) for name, one in registry.methods().items()}
    if kind == "checks":
        return {name: reference.of_check(one) for name, one in registry.checks().items()}
    return {name: reference.of_subject(one) for name, one in registry.subjects().items()}


def _list(arguments: argparse.Namespace) -> int:
    found = _found(arguments.kind)
    if arguments.json:
        print(json.dumps(list(found.values()), indent=2, ensure_ascii=False, default=str))
        return 0
    width = max(map(len, found), default=0)
    print("\n".join(f"{name:<{width}}  {entry['statement']}" for name, entry in found.items()))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    name, known = arguments.check, registry.checks()
    if name not in known:
        raise UsageError(f"show {name!r}: no check of that name{nearest(name, known)}")
    print(reference.text_of_check(known[name]))
    return 0


def _reference(arguments: argparse.Namespace) -> int:
    text = reference.document()
    if arguments.write is None:
        print(text.rstrip())
        return 0
    try:
        arguments.write.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--write={str(arguments.write)!r}: expected a file that can be written, came {error.strerror}"
        ) from None
    print(f"written to {arguments.write}")
    return 0


def _tell(message: Warning | str, *_: object, **__: object) -> None:
    """A warning in one sentence, as mistakes are told."""
    print(f"xattr-check: {message}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, or 2 where it cannot be understood."""
    parsed = _parser().parse_args(arguments)
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
