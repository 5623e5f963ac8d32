"""What a model returns, and how one tensor of outputs (N, K) is read from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xattr_check.core.twin import derived
from xattr_check.errors import SubjectError
from xattr_check.storage.sources import text_digest

# A field's name, a place, or a function of what the model returns.
Select = str | int | Callable[[Any], Tensor]


@dataclass(frozen=True)
class Reading:
    """How outputs are read from what a model returns.

    select: which part of it they are; None for all of it.
    margin: whether one logit z is to be two outputs, −z and z.
    """

    select: Select | None = None
    margin: bool = False

    def __call__(self, returned: Any) -> Tensor:
        """(N, K) of what a model returns; (N,) is read as (N, 1). Raises SubjectError for no part."""
        found = returned if self.select is None else _pick(returned, self.select)
        outputs: Tensor = found[:, None] if isinstance(found, Tensor) and found.ndim == 1 else found
        return torch.cat([-outputs, outputs], 1) if self.margin else outputs

    @property
    def key(self) -> str:
        """What tells it from others, the text of a function included."""
        select = self.select
        told = f"{_name(select)} {text_digest(select)}" if callable(select) else select
        return f"select={told!r}, margin={self.margin}"


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


class Returned(nn.Module):
    """A model whose outputs are read from what its class returns: mixed into a class of its own."""

    xattr_reading: ClassVar[Reading]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """(N, K)."""
        returned: Any = super().forward(*args, **kwargs)
        return self.xattr_reading(returned)


def returning(model: nn.Module, reading: Reading) -> nn.Module:
    """The model with its outputs read: an object of a derived class that holds the very same modules.

    Raises SubjectError for a model whose forward function is not that of its class.
    """
    wanted = "for what it returns to be read"
    return derived(model, Returned, {"xattr_reading": reading}, reading.key, wanted=wanted)


def read_like(model: nn.Module, other: nn.Module) -> nn.Module:
    """A model of the same kind with its outputs read as those of another one are."""
    return returning(model, other.xattr_reading) if isinstance(other, Returned) else model


def reading_of(returned: Any, select: Select | None, output: str | None) -> Reading | None:
    """How outputs (N, K) are read from what a model returned for one input; None where they are it.

    output: the name of what they mean, None where that is to be guessed. What a model of transformers returns
        is read by its logits, where nothing else is selected.
    Raises SubjectError for what cannot be read, with what to type.
    """
    if select is not None and isinstance(returned, Tensor) and not callable(select):
        raise _unreadable(f"no select={select!r} for a model that returns one tensor", _told(returned))
    if select is None and _of_transformers(returned) and isinstance(_parts(returned).get("logits"), Tensor):
        select = "logits"
    found = Reading(select)(returned)
    _expect_rows(found, select)
    margin = output == "margin"
    if margin and found.shape[1] != 1:
        raise _unreadable("one logit (N, 1) for output='margin'", f"{found.shape[1]} outputs", _CLASSES)
    if found.shape[1] == 1 and output is None:
        raise _unreadable(
            "output='margin' for one logit of two classes, or output='value' for a real number",
            "a model with one output and neither",
        )
    if found.shape[1] == 1 and output == "classes":
        raise _unreadable(
            "at least two outputs for output='classes'", "one", "output='margin' takes one logit"
        )
    plain = select is None and not margin and found is returned
    return None if plain else Reading(select, margin)


def _of_transformers(returned: Any) -> bool:
    """Whether it is a ModelOutput, by its name: the library need not be installed."""
    return any(kind.__name__ == "ModelOutput" for kind in type(returned).__mro__)


_CLASSES = "output='classes' takes one logit for each class"


def _expect_rows(found: Any, select: Select | None) -> None:
    """Raise SubjectError for what are no outputs (1, K) of one input."""
    if not isinstance(found, Tensor):
        if select is not None:
            raise _unreadable(f"select={select!r} to give a tensor of outputs", _told(found))
        raise _unreadable("the model to return a tensor of outputs (N, K)", _told(found), _advice(found))
    if found.ndim > 2:
        kind = "cells or pixels" if found.ndim > 3 else "tokens"
        example = "mean((2, 3))" if found.ndim == 4 else "mean(1)"
        raise _unreadable(
            "the model to return outputs (N, K) for N inputs",
            f"{tuple(found.shape)}, as if for each of many {kind}",
            f"say what of them is explained by a function, select=lambda outputs: outputs.{example}",
        )
    if found.ndim < 2 or len(found) != 1:
        raise _unreadable("the model to return outputs (1, K) for one input", str(tuple(found.shape)))


def _pick(returned: Any, select: Select) -> Any:
    """The part that is selected. Raises SubjectError where there is none."""
    if callable(select):
        return select(returned)
    try:
        if isinstance(returned, Mapping):
            return returned[list(returned)[select] if isinstance(select, int) else select]
        return returned[select] if isinstance(select, int) else getattr(returned, select)
    except (KeyError, IndexError, AttributeError, TypeError):
        raise _unreadable(f"select= one of {_listed(returned)}", repr(select)) from None


def _parts(returned: Any) -> dict[str | int, Any]:
    """What a model returns besides a tensor, by the names or the places of its parts."""
    if isinstance(returned, Mapping):
        return {key: value for key, value in returned.items() if isinstance(key, str | int)}
    if is_dataclass(returned):
        return {one.name: getattr(returned, one.name) for one in fields(returned)}
    if isinstance(returned, tuple | list):
        return dict(zip(getattr(returned, "_fields", range(len(returned))), returned, strict=True))
    return {
        name: value for name, value in getattr(returned, "__dict__", {}).items() if not name.startswith("_")
    }


def _listed(returned: Any) -> str:
    """The parts that are tensors, as they are typed."""
    return (
        ", ".join(repr(name) for name, part in _parts(returned).items() if isinstance(part, Tensor)) or "none"
    )


def _advice(returned: Any) -> str:
    names = [name for name, part in _parts(returned).items() if isinstance(part, Tensor)]
    if not names:
        return "wrap the model in a module that returns them"
    chosen = "logits" if "logits" in names else names[0]
    return f"say which part is explained: select={chosen!r}, one of {_listed(returned)}"


def _told(returned: Any) -> str:
    if isinstance(returned, Tensor):
        return f"a tensor {tuple(returned.shape)}"
    return (
        f"{type(returned).__name__} of {_listed(returned)}" if _parts(returned) else type(returned).__name__
    )


def _unreadable(expected: str, came: str, hint: str = "") -> SubjectError:
    return SubjectError(option="subject", expected=expected, came=came, hint=hint)
