"""A method's function as it runs where a model has other inputs, or reads ids of tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.arrays import as_tensor
from xattr_check.core.context import IDS, Contextual, current, rows
from xattr_check.core.subject import Subject
from xattr_check.errors import Undefined

# What a function may ask for by name that belongs to the rows it is called on.
BY_ROW = ("context", "embedding", "baseline")


@dataclass(frozen=True, eq=False)
class Serving:
    """Calls a function on inputs (n, *F) so that no row can be given the other inputs of another one.

    A function that asks for `context` is given it, and passes it on; any other is called on one input at a
    time, whose other inputs the model finds, however often and in whatever order it is called.

    takes_ids: whether it is given ids (n, T) in place of their embeddings. keeps_rows: as of a method.
    asked: what of `BY_ROW` it is given. blind: whether it asks no model, and sees the same words for all.
    """

    function: Callable[..., Any]
    subject: Subject
    takes_ids: bool
    keeps_rows: bool
    asked: frozenset[str]
    blind: bool = False

    def __post_init__(self) -> None:
        # For inspect.signature and inspect.getdoc.
        object.__setattr__(self, "__wrapped__", self.function)

    @property
    def takes_batches(self) -> bool:
        """Whether it is called on many inputs at a time."""
        return "context" in self.asked or self.keeps_rows

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, **parameters: Any) -> Any:
        """What the function returns; of tokens, (n, T) as (n, T, 1), and nothing on padding."""
        index = current()
        index = self.subject.locate(inputs) if index is None else index.expand(len(inputs))
        ids = self._ids(inputs, index) if self.takes_ids else None
        if self._sibling(model) is not None:
            inputs = self.subject.own_inputs(model, inputs, index)
        if self.takes_batches:
            return self._part(model, inputs, targets, index, ids, parameters)
        parts = [
            self._part(
                model,
                inputs[some],
                targets[some],
                index[some],
                None if ids is None else ids[some],
                parameters,
            )
            for some in (slice(row, row + 1) for row in range(max(1, len(inputs))))
        ]
        whole = all(isinstance(part, Tensor) and part.shape[:1] == (1,) for part in parts)
        return torch.cat(parts) if whole and len({part.shape for part in parts}) == 1 else parts[0]

    def _part(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        index: Tensor,
        ids: Tensor | None,
        parameters: dict[str, Any],
    ) -> Any:
        """Maps of inputs of these rows, all at once."""
        given = dict(parameters)
        placed = index.to(self.subject.inputs.device)
        if "context" in self.asked:
            given["context"] = {name: table[placed].clone() for name, table in self.subject.context.items()}
        if "embedding" in self.asked:
            given["embedding"] = model.xattr_embedding if isinstance(model, Contextual) else None
        if "baseline" in self.asked:
            given["baseline"] = self.subject.without_words(inputs, index, self._sibling(model))
        # What was given its rows has to pass them.
        with rows(None if "context" in self.asked and not self.keeps_rows else index):
            maps = as_tensor(self.function(model, inputs if ids is None else ids, targets, **given), inputs)
        return self._finished(maps, inputs, index)

    def _sibling(self, model: nn.Module) -> nn.Module | None:
        """The model, where it is a sibling, whose embedding has other numbers for the same words."""
        known = not self.blind and any(model is one for one in self.subject.siblings.values())
        return model if known else None

    def _ids(self, inputs: Tensor, index: Tensor) -> Tensor:
        """The ids of rows, where inputs are the subject's own. Raises Undefined where they are not."""
        index = index.to(self.subject.inputs.device)
        if not torch.equal(self.subject.inputs[index], inputs):
            raise Undefined("the method takes ids of tokens, and the check changes their embeddings")
        return self.subject.context[IDS][index]

    def _finished(self, maps: Any, inputs: Tensor, index: Tensor) -> Any:
        """Maps as checks read them: with the axis of an embedding, and zero on padding."""
        if not isinstance(maps, Tensor) or maps.layout != torch.strided:
            return maps
        if self.subject.tokens and maps.shape == inputs.shape[:2]:
            maps = maps.unsqueeze(2)
        valid = self.subject.valid
        if valid is None or maps.shape[1:] not in self.subject.layout.map_shapes:
            return maps
        kept = self.subject.layout.expand(valid[index.to(valid.device)]).to(maps.device)
        return maps.masked_fill(~kept, 0)
