"""What can be changed in place: containers of Python, and the names of modules and classes."""

import sys
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping, MutableSequence, MutableSet
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

# What counts as the same where it is equal, and not only where it is the same object.
PLAIN = (bool, int, float, complex, str, bytes, type(None), tuple, frozenset)
PLAIN_OF_LIBRARIES = (torch.dtype, torch.device, torch.layout, torch.memory_format, np.generic, np.dtype)
SCALARS = frozenset((*PLAIN, type))
TABLES = frozenset((dict, OrderedDict, list, set))
Container = MutableMapping[Any, Any] | MutableSequence[Any] | MutableSet[Any]
# Stands for what is not there.
MISSING = object()


def unchanged(one: Any, other: Any) -> bool:
    """Whether two values are one object, or plain and equal; a NaN is no change from a NaN."""
    if one is other:
        return True
    if type(one) is not type(other) or not isinstance(one, PLAIN + PLAIN_OF_LIBRARIES):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(unchanged, one, other))
    return bool(one == other or (one != one and other != other))


def describe(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Tensor | np.ndarray):
        return f"a {type(value).__name__.lower()} {tuple(value.shape)}"
    if isinstance(value, PLAIN + PLAIN_OF_LIBRARIES):
        return f"{value!r:.40}"
    if isinstance(value, MutableMapping | MutableSequence | MutableSet):
        return f"a {type(value).__name__} of {len(value)}"
    name = getattr(value, "__qualname__", "")
    return name if isinstance(name, str) and name else f"a {type(value).__name__}"


def tell_change(name: str, before: Any, now: Any) -> str:
    """How a value became another one, in words."""
    if before is MISSING:
        return f"{name}: new, {describe(now)}"
    if now is MISSING:
        return f"{name}: {describe(before)} is gone"
    told = describe(before), describe(now)
    return f"{name}: {told[0]} became {told[1] if told[0] != told[1] else 'another'}"


def inside(value: Any) -> Container | None:
    """What of a value can be changed in place: itself, or the attributes of an object of a user's class.

    None for tensors and modules, which are looked after elsewhere, and for what is more than its attributes.
    """
    kind = type(value)
    if kind in TABLES or isinstance(value, dict | list | set):
        return cast(Container, value)
    if (
        kind in SCALARS
        or isinstance(value, Tensor | nn.Module | type)
        or kind.__module__ in ("builtins", "functools")
    ):
        return None
    held = getattr(value, "__dict__", None)
    return held if type(held) is dict and kind.__module__ not in sys.stdlib_module_names else None


class Contents:
    """What a dict, a list or a set held."""

    __slots__ = ("container", "keys", "values")

    def __init__(self, container: Container) -> None:
        self.container = container
        # Most tables of a module are empty.
        self.keys, self.values = _read(container) if container else ((), ())

    def items(self) -> Iterator[tuple[Any, Any]]:
        """What it held, by key, or by number."""
        return zip(self.keys, self.values, strict=True)

    def changed(self) -> Iterator[tuple[Any, Any, Any]]:
        """Keys, what was there and what is there now, of all that is not what it was."""
        if not (self.container or self.keys):
            return
        keys, values = _read(self.container)
        if self._are(keys, values):
            return
        before, now = dict(self.items()), dict(zip(keys, values, strict=True))
        for key in {**before, **now}:
            old, new = before.get(key, MISSING), now.get(key, MISSING)
            if not unchanged(old, new):
                yield key, old, new
        if before.keys() == now.keys() and keys != self.keys:
            yield "the order", self.keys, keys

    def _are(self, keys: tuple[Any, ...], values: tuple[Any, ...]) -> bool:
        """Whether these are the very objects that were there, in their order."""
        return keys == self.keys and all(map(_is, values, self.values))

    def restore(self) -> None:
        """Put the very objects back that were there, in their order."""
        if not (self.container or self.keys) or self._are(*_read(self.container)):
            return
        self.container.clear()
        if isinstance(self.container, MutableMapping):
            self.container.update(self.items())
        elif isinstance(self.container, MutableSequence):
            self.container.extend(self.values)
        else:
            for value in self.values:
                self.container.add(value)


def _read(container: Container) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    if isinstance(container, dict):
        return tuple(container), tuple(container.values())
    if isinstance(container, list):
        return tuple(range(len(container))), tuple(container)
    elements = tuple(container)
    return elements, elements


class Names:
    """The functions, and for a class the attributes too, that a module or a class has under its names.

    What a library that was imported meanwhile has put there is its own business: it stays.
    """

    __slots__ = ("before", "imported", "owner")

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.before = dict(vars(owner))
        self.imported = len(sys.modules)

    def changed(self) -> Iterator[tuple[str, Any, Any]]:
        """Names, what stood there and what stands there now."""
        now = vars(self.owner)
        if len(now) == len(self.before) and all(map(_is, now.values(), self.before.values())):
            return
        recent = set(list(sys.modules)[self.imported :])
        for name in {**self.before, **now}:
            old, new = self.before.get(name, MISSING), now.get(name, MISSING)
            if self._counts(name, old, new) and not _home(new) & recent:
                yield name, old, new

    def _counts(self, name: str, old: Any, new: Any) -> bool:
        if unchanged(old, new):
            return False
        if not isinstance(self.owner, type):
            return callable(old) and not isinstance(old, type)
        functions = is_function(old) or is_function(new)
        return functions or not (name.startswith("__") or name == "_abc_impl")

    def restore(self) -> None:
        """Put back what was there."""
        for name, old, _ in list(self.changed()):
            if old is MISSING:
                delattr(self.owner, name)
            else:
                setattr(self.owner, name, old)


def _is(one: Any, other: Any) -> bool:
    return one is other


def _home(function: Any) -> set[str | None]:
    """The modules that a function is of: as it says, and where it was written."""
    return {getattr(function, "__module__", None), getattr(function, "__globals__", {}).get("__name__")}


def is_function(value: Any) -> bool:
    """Whether a value of a class is one of its methods."""
    return callable(value) or isinstance(value, staticmethod | classmethod | property)
