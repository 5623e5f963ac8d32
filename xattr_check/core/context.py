"""Other inputs of a model, row by row: how they follow the inputs that they belong to.

A model with other inputs is called as it is everywhere else, `model(inputs)`, in a scope that says which of
the subject's rows the inputs are. A batch that is not of so many rows is refused, and never guessed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xattr_check.core.twin import derived
from xattr_check.errors import ContextError, SubjectError
from xattr_check.storage.digest import digest, digest_rows

# The name under which ids of tokens are among a model's other inputs.
IDS = "ids"
# The rows of each scope, the innermost last; None where a method was given its rows, and has to pass them.
_scopes: list[Tensor | None] = []


@contextmanager
def rows(index: Tensor | None) -> Iterator[None]:
    """A scope in which inputs are these rows (n,) int64 of the subject's; None leaves that open."""
    _scopes.append(index)
    try:
        yield
    finally:
        _scopes.pop()


@contextmanager
def chosen(which: Tensor | slice) -> Iterator[None]:
    """A scope of some rows of the present one, by their place there; as it is where there is none."""
    known = current()
    if known is None:
        yield
        return
    # One row stands for a batch of any size.
    with rows(known if len(known) == 1 else known[which if isinstance(which, slice) else which.cpu()]):
        yield


def first_rows(count: int) -> AbstractContextManager[None]:
    """A scope in which inputs are so many of the subject's, the first of them."""
    return rows(torch.arange(count))


def current() -> Tensor | None:
    """(n,) int64: which of the subject's rows inputs are here, on the CPU; None where that is not known."""
    return _scopes[-1] if _scopes else None


@dataclass(frozen=True, eq=False)
class Context:
    """Other inputs of a model, for each of the subject's rows.

    tables: (N, …) each, by the names that the model's forward function gives them; `ids` (N, T) where its
        inputs are embedded tokens.
    inputs: (N, *F), the subject's own, by which rows are found where no scope tells them.
    embedding: the name of the module that embeds the ids; empty where inputs are no tokens.
    """

    tables: Mapping[str, Tensor]
    inputs: Tensor
    embedding: str = ""

    def locate(self, inputs: Tensor) -> Tensor | None:
        """(n,) int64: which rows inputs (n, *F), or ids of tokens, are; None where that cannot be told."""
        own = self.tables[IDS] if self.embedding and not inputs.is_floating_point() else self.inputs
        found = digest_rows(own)
        asked = digest_rows(inputs)
        if asked == found:
            return torch.arange(len(found))
        # The same inputs may come with other ones beside them in another row.
        times = Counter(found)
        if any(times[row] != 1 for row in asked):
            return None
        places = {row: place for place, row in enumerate(found)}
        return torch.tensor([places[row] for row in asked], dtype=torch.int64)

    def of(self, names: set[str], count: int, device: torch.device) -> dict[str, Tensor]:
        """The rows of the present scope for so many inputs. Raises ContextError where they are not known."""
        index = current()
        if index is None:
            raise ContextError(
                f"the model has other inputs ({', '.join(sorted(names))}), and which rows of them are asked "
                "for is not told: call model(inputs, **context), or a method on the subject's own inputs, or "
                "say it, with xattr_check.core.context.rows(index): …"
            )
        if len(index) == 1:
            index = index.expand(count)
        if len(index) != count:
            raise ContextError(
                f"came a batch of {count} inputs where {len(index)} rows of other inputs "
                f"({', '.join(sorted(names))}) belong to it"
            )
        return {name: self.tables[name][index.to(self.tables[name].device)].to(device) for name in names}


class Contextual(nn.Module):
    """A model that finds its other inputs by itself: mixed into a class of its own.

    Inputs are the model's own, or embedded tokens (n, T, E) in place of ids, which are put where its
    embedding returns them; `inputs_embeds=` and `input_ids=` are other names of them, those of transformers.
    """

    xattr_context: ClassVar[Context]

    def forward(
        self,
        inputs: Tensor | None = None,
        **context: Any,
    ) -> Any:
        """What the model returns; other inputs that are not given are those of the present scope."""
        given, context = _one_of(inputs, context)
        embedded = bool(self.xattr_context.embedding) and given.is_floating_point()
        needed = set(self.xattr_context.tables) - (set() if embedded else {IDS})
        if missing := needed - context.keys():
            context |= self.xattr_context.of(missing, len(given), given.device)
        ids = context.pop(IDS, None)
        if not embedded:
            return super().forward(given, **context)
        # Before the hooks of others, which watch or replace what the model goes on with.
        handle = self.xattr_embedding.register_forward_hook(_putting(given), prepend=True)
        try:
            return super().forward(ids, **context)
        finally:
            handle.remove()

    @property
    def xattr_embedding(self) -> nn.Module:
        """The module that embeds ids."""
        return self.get_submodule(self.xattr_context.embedding)

    def xattr_floats(self, inputs: Tensor | None, context: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Inputs by whatever name, and other inputs, where ids are embedded and among the others."""
        given, context = _one_of(inputs, context)
        if given.is_floating_point() or not self.xattr_context.embedding:
            return given, context
        return self.xattr_embedding(given), {**context, IDS: given}

    @torch.no_grad()
    def xattr_embed(self, ids: Tensor) -> Tensor:
        """(n, T, E): the embeddings of ids (n, T)."""
        found: Tensor = self.xattr_embedding(ids)
        return found.detach().clone()


class _Elsewhere:
    """Mixed into a model that finds its other inputs: it finds others."""


def in_context(model: nn.Module, context: Context) -> nn.Module:
    """A model that finds its other inputs, with others in their place; the very same modules."""
    held = {"xattr_context": context}
    key = f"{context.embedding} {digest(dict(context.tables))}"
    return derived(model, _Elsewhere, held, key, wanted="where it has other inputs or ids")


def _one_of(inputs: Tensor | None, context: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """Inputs by whatever name they come, and the others."""
    others = {name: value for name, value in context.items() if name not in ("inputs_embeds", "input_ids")}
    named = (inputs, context.get("inputs_embeds"), context.get("input_ids"))
    given = next((one for one in named if one is not None), None)
    if given is None:
        raise TypeError("expected inputs, came none")
    return given, others


def _putting(embedded: Tensor) -> Any:
    """A hook that puts embedded tokens where the embedding of their ids would be."""

    def put(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        # A copy: models add positions in place.
        return embedded.clone() if output.shape == embedded.shape else output

    return put


def with_context(model: nn.Module, context: Context) -> nn.Module:
    """The model, of a class that finds its other inputs: an object that holds the very same modules.

    Raises SubjectError for a model whose forward function is not that of its class, or that has to see how it
    is called.
    """
    if model._forward_pre_hooks_with_kwargs:  # an exported one: it would see the call before they are found
        raise SubjectError(
            option="subject",
            expected="a model without hooks on what it is called with, where it has other inputs or ids",
            came="one that has them, as one that was exported",
            hint="wrap it in a module whose forward calls it",
        )
    key = f"{context.embedding} {digest(dict(context.tables))}"
    wanted = "where it has other inputs or ids"
    return derived(model, Contextual, {"xattr_context": context}, key, wanted=wanted)
