"""What is installed: methods, checks and subjects, found through entry points.

An entry point of the group `xattr_check.methods`, `xattr_check.axioms` or `xattr_check.fixtures` names a
package; all its modules are imported, and everything declared in them is taken up under its own name.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, TypeVar

from xattr_check.core.checks import Axiom
from xattr_check.core.method import Method
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.imports import neutral_warnings

T = TypeVar("T", Method, Axiom, "SubjectFactory")


@dataclass(frozen=True, eq=False)
class SubjectFactory:
    """A subject that can be made by name."""

    name: str
    factory: Callable[..., Subject]

    @property
    def statement(self) -> str:
        """The first line of its docstring."""
        lines = (inspect.getdoc(self.factory) or "").splitlines()
        return lines[0] if lines else ""

    def __call__(self, **parameters: Any) -> Subject:
        """Make the subject."""
        return self.factory(**parameters)


def fixture(factory: Callable[..., Subject]) -> SubjectFactory:
    """Declare a subject; the factory's name is the subject's."""
    return SubjectFactory(factory.__name__, factory)


def _modules(where: str) -> Iterator[ModuleType]:
    """A package and all its modules, those of its folders too."""
    package = importlib.import_module(where)
    yield package
    for module in sorted(pkgutil.iter_modules(package.__path__, f"{where}."), key=lambda one: one.name):
        if module.ispkg:
            yield from _modules(module.name)
        else:
            yield importlib.import_module(module.name)


def _installed(group: str, kind: type[T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for where in sorted({point.value for point in entry_points(group=group)}):
        with neutral_warnings():
            modules = list(_modules(where))
        for module in modules:
            for value in vars(module).values():
                if not isinstance(value, kind):
                    continue
                if found.setdefault(value.name, value) is not value:
                    raise UsageError(
                        f"{value.name!r} of {module.__name__} is declared by another package as well",
                        option=group,
                        hint="uninstall one of them",
                    )
    return dict(sorted(found.items()))


@cache
def methods() -> dict[str, Method]:
    """Every installed reference method, controls included, by name."""
    return _installed("xattr_check.methods", Method)


def is_reference(method: Method) -> bool:
    """Whether it is a reference method, whatever it is called and whichever parameters are fixed."""
    function = method.function
    while isinstance(function, partial):
        function = function.func
    return any(function is one.function for one in methods().values())


def controls() -> dict[str, Method]:
    """Those of the methods that are measured beside others, by name."""
    return {name: one for name, one in methods().items() if one.control is not None}


@cache
def checks() -> dict[str, Axiom]:
    """Every installed check, by name."""
    return _installed("xattr_check.axioms", Axiom)


@cache
def subjects() -> dict[str, SubjectFactory]:
    """Every installed subject, by name."""
    return _installed("xattr_check.fixtures", SubjectFactory)
