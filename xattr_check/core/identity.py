"""What a model is by content, for as long as it stays that."""

import operator
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.storage.digest import SCALARS, TensorStamp, describe_model, digest_model, digest_surroundings

TABLES = frozenset((dict, OrderedDict, list, tuple, set))
Stamp = dict[tuple[str, str], Any]


class Identity:
    """The digest of a model, taken anew where the model is no longer what it was.

    That is seen without a look at the weights. What the model changes itself when it runs, such as a counter
    or the activation that it kept last, makes no other model of it. What its code reads besides, such as a
    global, is noted once: where a method changed it and nothing put it back, the model is spoiled and not
    another one, which its outputs tell.
    """

    def __init__(self) -> None:
        self._digest = ""
        self._read = ""
        self._glance: _Glance | None = None
        self._stamp: Stamp = {}
        self._own: frozenset[tuple[str, str]] | None = None

    def digest(self, model: nn.Module, example: Tensor | None = None) -> str:
        """Digest of the model as it is now.

        example: (1, *F) an input, by which the model shows what it changes itself.
        """
        glance = _Glance(model)
        if self._glance is not None and glance.shows_the_same_as(self._glance):
            return self._digest
        self._glance = glance
        now = _stamp(model)
        changed = _differing(self._stamp, now) - (self._own or frozenset())
        if self._digest and changed and self._own is None and example is not None:
            self._own = _own_changes(model, example)
            now, changed = _stamp(model), changed - self._own
        if changed or not self._digest:
            self._read = self._read or digest_surroundings(model)
            self._digest = digest_model(model, self._read)
        self._stamp = now
        return self._digest


class _Glance:
    """The very objects that a model holds, and how often its tensors were written to.

    Where they are the same, so is its stamp, which takes several times as long: for a model that holds
    nothing but numbers, tensors and tables of them.
    """

    __slots__ = ("flat", "objects", "writes")

    def __init__(self, model: nn.Module) -> None:
        self.flat = True
        self.objects: list[Any] = []
        self.writes: list[int] = []
        for module in model.modules():
            self.objects.append(type(module))
            for key, value in vars(module).items():
                kind = type(value)
                if kind in SCALARS:
                    self.objects.append(value)
                elif kind in TABLES and not value:
                    self.objects.append(key)
                else:
                    self._look_into(key, value)
        if not self.flat:
            self.objects.clear()  # of which one may hold the model itself, and keep it from being freed

    def _look_into(self, key: str, value: Any) -> None:
        parts = (value,) if type(value) not in TABLES else list(value)
        if isinstance(value, dict):
            parts = [*parts, *value.values()]
        self.objects += parts
        for part in parts:
            if isinstance(part, Tensor):
                stamp = TensorStamp(part)
                self.writes += (stamp.version, stamp.pointer)
            elif type(part) not in SCALARS and key != "_modules":
                self.flat = False

    def shows_the_same_as(self, other: "_Glance") -> bool:
        """Whether the model is certainly what it was at another glance."""
        return (
            self.flat
            and len(self.objects) == len(other.objects)
            and self.writes == other.writes
            and all(map(operator.is_, self.objects, other.objects))
        )


def _stamp(model: nn.Module) -> Stamp:
    described = describe_model(model, TensorStamp)
    return {(label, key): value for label, held in described.items() for key, value in held.items()}


def _differing(one: Stamp, other: Stamp) -> frozenset[tuple[str, str]]:
    if one == other:
        return frozenset()
    missing = object()
    return frozenset(
        place for place in one.keys() | other.keys() if one.get(place, missing) != other.get(place, missing)
    )


def _own_changes(model: nn.Module, example: Tensor) -> frozenset[tuple[str, str]]:
    """Where a model writes to itself when it runs."""
    before = _stamp(model)
    with suppress(Exception), torch.enable_grad():
        model(example.clone().requires_grad_())
    return _differing(before, _stamp(model))
