"""Modules of the user's: MODULE:ATTRIBUTE or path/to/file.py:ATTRIBUTE as an object."""

import os
import sys
import traceback
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from xattr_check.config.edited import import_current, import_file
from xattr_check.errors import UsageError
from xattr_check.storage.sources import ENGINE
from xattr_check.wording import nearest


def add_to_path(folder: Path, *, first: bool = False) -> None:
    """Let the modules of a folder be imported, from now on: what a function imports, it imports when called.

    first: before all other folders, as `python -m` has the working directory; otherwise after them, so that
        no file in the folder hides an installed package.
    """
    if str(folder) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(folder))


def resolve(target: str, option: str, example: str, kind: str = "CALLABLE", spec: str | None = None) -> Any:
    """Import the object that MODULE:ATTRIBUTE or path/to/file.py:ATTRIBUTE names.

    option, spec: what a message is about; the spec where the user typed more than the target.
    example, kind: what a message says to type.

    Raises UsageError where there is none; an error inside the user's own module is shown with its traceback.
    """
    wrong = partial(UsageError, option=option, value=target if spec is None else spec)
    where, _, attribute = target.rpartition(":")
    if not where or not attribute:
        raise wrong(expected=f"MODULE:{kind}, for example {_with_colon(target) or example}")
    try:
        found: Any = _import(where)
    except UsageError:
        raise
    except _NoFile:
        raise wrong(f"expected a file, {where} is not there") from None
    except (Exception, SystemExit) as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        if name is not None and (where == name or where.startswith(f"{name}.")):
            raise wrong(
                f"no module {name!r} in {os.getcwd()} or among the installed packages",
                expected=f"MODULE:{kind}, for example {example}",
            ) from None
        raise wrong(f"importing {where} failed:\n{render_traceback(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [name for name in getattr(found, "__dict__", ()) if not name.startswith("_")]
            raise wrong(f"{where} has no attribute {part!r}", hint=nearest(part, names))
        found = getattr(found, part)
    return found


def _with_colon(target: str) -> str:
    """MODULE:NAME for what was typed as MODULE.NAME; an empty string for anything else."""
    module, _, name = target.rpartition(".")
    is_typo = bool(module) and ":" not in target and name.isidentifier() and name != "py"
    return f"{module}:{name}" if is_typo else ""


class _NoFile(Exception):
    """There is no file of that path."""


def _import(where: str) -> ModuleType:
    """Import a module by name, or from a file, as `python -m` would in the working directory."""
    add_to_path(Path.cwd(), first=True)
    if not where.endswith(".py"):
        return import_current(where)
    path = Path(where).resolve()
    if not path.is_file():
        raise _NoFile
    _add_neighbours(path.parent)
    return import_file(path)


_neighbours: list[str] = []


def _add_neighbours(folder: Path) -> None:
    """Let the modules beside a file be imported, before those beside files that were asked for earlier."""
    if str(folder) in sys.path and str(folder) not in _neighbours:
        return
    earlier = [place for place in _neighbours if place != str(folder)]
    sys.path[:] = [place for place in sys.path if place not in _neighbours]
    _neighbours[:] = [str(folder), *earlier]
    sys.path += _neighbours


def render_traceback(error: BaseException) -> str:
    """The traceback of an error in code of the user's, without the frames of the engine and of imports."""
    frames = traceback.extract_tb(error.__traceback__)
    # The user's own frames start after the import machinery and the engine.
    own = [
        frame
        for frame in frames
        if "importlib" not in frame.filename and not frame.filename.startswith(str(ENGINE))
    ]
    lines = (*traceback.format_list(own), *traceback.format_exception_only(error))
    return "".join(lines).rstrip()
