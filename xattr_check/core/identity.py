"""What a model is by content, for as long as it stays that."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.storage.digest import TensorStamp, describe_model, digest_model

Stamp = dict[tuple[str, str], Any]


class Identity:
    """The digest of a model, taken anew where the model is no longer what it was.

    That is seen without a look at the weights. What the model changes itself when it runs, such as a counter
    or the activation that it kept last, makes no other model of it.
    """

    def __init__(self) -> None:
        self._digest = ""
        self._stamp: Stamp = {}
        self._own: frozenset[tuple[str, str]] | None = None

    def digest(self, model: nn.Module, example: Tensor | None = None) -> str:
        """Digest of the model as it is now.

        example: (1, *F) an input, by which the model shows what it changes itself.
        """
        now = _stamp(model)
        changed = _differing(self._stamp, now) - (self._own or frozenset())
        if self._digest and changed and self._own is None and example is not None:
            self._own = _own_changes(model, example)
            now, changed = _stamp(model), changed - self._own
        if changed or not self._digest:
            self._digest = digest_model(model)
        self._stamp = now
        return self._digest


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
