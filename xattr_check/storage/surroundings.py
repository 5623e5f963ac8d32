"""What the code of a model reads besides the model: globals, closures, defaults, attributes of classes.

Followed are the functions that it calls, as far as they are the user's own: what is installed has a version.
"""

import dis
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

# Who computes what is judged on is told by versions, and the engine's own by `storage.sources`.
OTHERS = frozenset({"torch", "torchvision", "numpy", "xattr_check"})
# Longer tables are not searched for functions.
LONG = 1000
HELD = ("_modules", "_parameters", "_buffers")


def surroundings(model: nn.Module) -> dict[str, Any]:
    """What the outputs of a model may depend on besides itself, by names that are the same in every process.

    Functions are among it for their own code. What its code assigns to a global is state, and left out.
    """
    search = _Search()
    for module in model.modules():
        search.start(module)
    search.finish()
    return search.found


@cache
def is_installed(file: Path) -> bool:
    """Whether a file is of an installed package or of the standard library."""
    paths = sysconfig.get_paths()
    standard = any(file.is_relative_to(paths[key]) for key in ("stdlib", "platstdlib"))
    return standard or bool({"site-packages", "dist-packages"} & set(file.parts))


@cache
def _is_own(name: str, file: str | None) -> bool:
    if name.partition(".")[0] in OTHERS:
        return False
    return file is None or not is_installed(Path(file).resolve())


def _is_users(names: Mapping[str, Any]) -> bool:
    """Whether the names of a module are of one that the user wrote; of no file, as at a prompt, too."""
    # Modules written in C have neither a file nor a place for builtins.
    return "__builtins__" in names and _is_own(str(names.get("__name__", "")), names.get("__file__"))


@lru_cache(4096)
def _names_in(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """The names that code may read, as globals or attributes, and the globals that it assigns."""
    texts = [
        one for one in code.co_consts if isinstance(one, str) and one.isidentifier()
    ]  # getattr(self, "a")
    names = {*code.co_names, *texts}
    stored = {str(one.argval) for one in dis.get_instructions(code) if one.opname == "STORE_GLOBAL"}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            own, assigned = _names_in(inner)
            names |= own
            stored |= assigned
    return frozenset(names), frozenset(stored)


class _Search:
    """From functions to what they read, and on to the functions among that.

    found: values by name. holders: classes and modules by name, any attribute of which may be read by name.
    """

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.holders: dict[str, Mapping[str, Any]] = {}
        self.names: set[str] = set()
        self._waiting: list[FunctionType] = []
        self._seen: set[int] = set()

    def start(self, module: nn.Module) -> None:
        """Begin with what runs when a module is called: the code of its class, hooks, functions it holds."""
        self._hold_class(type(module), called=False)
        for key, value in vars(module).items():
            if key not in HELD and (callable(value) or (type(value) in (dict, list, tuple) and value)):
                self._functions_in(f"{_name(type(module))}.{key}", value)
            elif hasattr(value, "__dict__") and not isinstance(value, nn.Parameter):
                self._hold_class(type(value))

    def finish(self) -> None:
        """Follow until nothing new is read."""
        self.names.add("forward")
        known = -1
        while self._waiting or known != len(self.names) + len(self.holders):
            known = len(self.names) + len(self.holders)
            while self._waiting:
                self._read(self._waiting.pop(0))
            for label, holder in list(self.holders.items()):
                for name in sorted(self.names & holder.keys()):
                    self._take_from(holder, name, label)

    def _read(self, function: FunctionType) -> None:
        label, names = _name(function), function.__globals__
        read, stored = _names_in(function.__code__)
        for name in sorted((read & names.keys()) - stored):
            self._take_from(names, name, function.__module__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            content = _content(cell)
            if name != "__class__" and content is not cell:
                self._take(f"{label}:{name}", content)
        defaults = [*enumerate(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
        for key, value in defaults:
            self._take(f"{label}={key}", value)
        self.names |= read

    def _take_from(self, names: Mapping[str, Any], name: str, holder: str) -> None:
        label = f"{holder}.{name}"
        try:
            self._take(label, names[name])
        except Exception:  # of whatever an object of the user's raises when it is looked at
            self._keep(label, _name(type(names[name])))

    def _take(self, label: str, value: Any) -> None:
        """Keep a value, once, and follow it where it has code of its own."""
        if id(value) in self._seen and label in self.found:
            return
        for function in _unwrap(value):
            self._follow(function)
        if isinstance(value, ModuleType):
            if _is_users(vars(value)):
                self.holders.setdefault(value.__name__, vars(value))
            value = value.__name__
        elif isinstance(value, type):
            self._hold_class(value)
        elif isinstance(value, nn.Module):
            for module in value.modules():
                self.start(module)
        elif type(value) in (dict, list, tuple):
            self._functions_in(label, value)
        else:
            self._hold_class(type(value))
        self._keep(label, value)

    def _functions_in(self, label: str, value: Any) -> None:
        """What a table holds that has code."""
        parts = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, list | tuple)
            else [value]
        )
        for place, part in enumerate(parts if len(parts) <= LONG else ()):
            if callable(part) and not isinstance(part, nn.Module):
                self._take(f"{label}[{place}]", part)

    def _follow(self, function: FunctionType) -> None:
        if id(function) not in self._seen and _is_users(function.__globals__):
            self._seen.add(id(function))
            self._keep(f"{_name(function)}()", function)
            self._waiting.append(function)

    def _hold_class(self, kind: type, *, called: bool = True) -> None:
        """Of a class, any attribute that is read by name, and what runs without being named.

        called: whether code may make objects of it; those of a model's modules are made already.
        """
        for base in kind.__mro__:
            if id(base) in self._seen or not _is_users(_globals_of(base)):
                continue
            self._seen.add(id(base))
            self.holders[_name(base)] = vars(base)
            for name, value in vars(base).items():
                if (
                    name.startswith("__")
                    and isinstance(value, FunctionType)
                    and (called or name != "__init__")
                ):
                    self._take_from(vars(base), name, _name(base))

    def _keep(self, label: str, value: Any) -> None:
        place, number = label, 1
        while place in self.found and self.found[place] is not value:  # two functions of one name
            number += 1
            place = f"{label}#{number}"
        self.found[place] = value
        self._seen.add(id(value))


def _unwrap(value: Any) -> Iterator[FunctionType]:
    """The functions that a value runs when it is called, or looked up."""
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, MethodType | staticmethod | classmethod):
        yield from _unwrap(value.__func__)
    elif isinstance(value, property):
        yield from _unwrap(value.fget)
    elif isinstance(value, cached_property | partial):
        yield from _unwrap(value.func)
    elif isinstance(getattr(value, "__wrapped__", None), FunctionType):  # as of functools.cache
        yield value.__wrapped__


def _content(cell: Any) -> Any:
    """What a closure has, or the cell itself while that is nothing yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def _globals_of(kind: type) -> Mapping[str, Any]:

    return vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"
