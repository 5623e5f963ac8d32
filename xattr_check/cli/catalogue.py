"""The commands `xattr-check list` and `show`: what is installed.

Importing all methods and checks takes seconds, mostly torch's. What they declare is kept in the user's folder
of caches, under the state of all the files that it follows from, and read from there while none changes.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xattr_check.cli.parser import Parser
from xattr_check.errors import UsageError
from xattr_check.report.declared import text_of_check
from xattr_check.storage.files import user_folder, write_bytes
from xattr_check.wording import nearest

GROUPS = ("xattr_check.methods", "xattr_check.axioms", "xattr_check.fixtures")
KINDS = ("methods", "checks", "subjects")

Catalogue = dict[str, dict[str, Any]]


def catalogue() -> Catalogue:
    """Everything that is installed, by kind and name, as JSON types."""
    kept = user_folder() / f"catalogue-{_state()}.json"
    with suppress(OSError, ValueError):
        found: Catalogue = json.loads(kept.read_text(encoding="utf-8"))
        return found
    from xattr_check.report import reference

    # As it will be read: what is none of JSON's types is told as text.
    text = json.dumps(reference.catalogue(), ensure_ascii=False, default=str)
    with suppress(OSError):  # a home that cannot be written: every call takes the longer way
        for old in kept.parent.glob("catalogue-*.json"):
            old.unlink()
        write_bytes(kept, text.encode())
    made: Catalogue = json.loads(text)
    return made


def _state() -> str:
    """Digest of names, sizes and times of all source files of the engine and of the packages that declare."""
    packages = sorted({point.value for group in GROUPS for point in entry_points(group=group)})
    state = blake2b(digest_size=12)
    for package in ("xattr_check", *packages):
        for file in files_of(package):
            status = file.stat()
            state.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    return state.hexdigest()


def files_of(package: str) -> Iterator[Path]:
    """The source files of a package, which is not imported; of one in another, that one's."""
    found = find_spec(package.partition(".")[0])
    for folder in (found and found.submodule_search_locations) or ():
        yield from sorted(Path(folder).rglob("*.py"))


def add_list(parser: Parser) -> None:
    """Declare the arguments of `list`."""
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--json", action="store_true", help="as JSON, with all that is declared")
    parser.set_defaults(run=_list)


def add_show(parser: Parser) -> None:
    """Declare the arguments of `show`."""
    parser.add_argument("check")
    parser.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> int:
    found = catalogue()[arguments.kind]
    if arguments.json:
        print(json.dumps(list(found.values()), indent=2, ensure_ascii=False))
        return 0
    width = max(map(len, found), default=0)
    print("\n".join(f"{name:<{width}}  {entry['statement']}" for name, entry in found.items()))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    name, known = arguments.check.partition("?")[0], catalogue()["checks"]
    if name not in known:
        hint = nearest(name, known)
        raise UsageError("no check of that name", option="show", value=name, hint=hint)
    print(text_of_check(known[name]))
    return 0
