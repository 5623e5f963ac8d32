"""Adapters: methods of other libraries, as specs PREFIX:NAME[@LAYER] and as objects of theirs.

An entry point of the group `xattr_check.adapters` has the prefix for its name, which is also the name of the
library's package, and for its value a function of what is wanted, a name or an object of the library, and of
a layer's name or None. It returns a Method, or a function of (model, inputs, targets). It is imported when
its prefix is first used, so a library that is not asked for costs nothing.
"""

import importlib
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from xattr_check.errors import UsageError
from xattr_check.imports import neutral_warnings

GROUP = "xattr_check.adapters"


@cache
def adapters() -> dict[str, EntryPoint]:
    """Every installed adapter by its prefix, not yet imported. Raises UsageError where two share one."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if found.setdefault(point.name, point).value != point.value:
            raise UsageError(
                f"{point.name!r} is declared as {found[point.name].value} and as {point.value}",
                option=GROUP,
                hint="uninstall one of them",
            )
    return dict(sorted(found.items()))


def adapt(prefix: str, wanted: Any, layer: str | None = None) -> Any:
    """What the adapter makes of a name or an object: a Method or a function."""
    return adapters()[prefix].load()(wanted, layer)


def library_of(value: Any) -> str | None:
    """The prefix of the adapter that a class or an instance is for, or None.

    None as well for a class of the user's that defines its own `__call__`, whatever it is derived from.
    """
    for base in (value if isinstance(value, type) else type(value)).__mro__[:-1]:
        package = base.__module__.partition(".")[0]
        # A package alone: a file of the user's may have the library's name.
        if hasattr(sys.modules.get(package), "__path__") and package in adapters():
            return package
        if "__call__" in vars(base):
            return None
    return None


def import_library(module: str, distribution: str) -> ModuleType:
    """A module of a library. Raises UsageError with the command that installs what is missing."""
    try:
        with neutral_warnings():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if module == missing or module.startswith(f"{missing}."):
            reason = f"package {missing!r} is not installed"
        else:
            reason = f"package {module.partition('.')[0]!r} needs {missing!r}, which is not installed"
            distribution = missing.partition(".")[0]
        raise UsageError(reason, hint=f"pip install {distribution}") from None
