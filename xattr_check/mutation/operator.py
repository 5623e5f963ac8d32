"""An operator: what it does to a method's maps, and the defect of real code that it stands for."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.context import current, rows
from xattr_check.core.layouts import Layout, layout_of
from xattr_check.core.method import Method
from xattr_check.core.subject import Subject
from xattr_check.mutation.kept import Kept
from xattr_check.storage.digest import derive_seed, digest_rows
from xattr_check.storage.sources import source_digest


@dataclass(frozen=True)
class Call:
    """One call of a method that is to be broken.

    method: bound to the subject. inputs: (N, *F). targets: (N,). parameters: what it is called with besides.
    memory: what the mutant keeps from one call to the next.
    """

    method: Method
    subject: Subject
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    parameters: Mapping[str, Any] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        """That of the inputs, which may be of another size than the subject's."""
        own = self.subject.layout
        return own if tuple(self.inputs.shape[1:]) == own.shape else layout_of(self.inputs, own)

    @cached_property
    def parameters_of_method(self) -> Set[str]:
        """What the right method's function may be called with, by name; nothing where that is not told."""
        function: Any = self.method.function
        while isinstance(function, partial | Kept):
            function = function.func if isinstance(function, partial) else function.method.function
        with suppress(TypeError, ValueError):  # builtins have no signature
            return inspect.signature(function).parameters.keys()
        return frozenset()

    @cached_property
    def maps(self) -> Tensor:
        """What the right method returns, (N, *F) or (N, *map_shape)."""
        return self.explain()

    def explain(
        self,
        *,
        model: nn.Module | None = None,
        inputs: Tensor | None = None,
        targets: Tensor | None = None,
        **parameters: Any,
    ) -> Tensor:
        """What the right method returns where some of what it is called with is another."""
        return self.method(
            self.model if model is None else model,
            self.inputs if inputs is None else inputs,
            self.targets if targets is None else targets,
            **{**self.parameters, **parameters},
        )

    def drawn(self, purpose: str, count: int) -> Tensor:
        """(N,) int64 of numbers below a count, each by the bits of its input alone."""
        seeds = [derive_seed(purpose, row) % count for row in digest_rows(self.inputs)]
        return torch.tensor(seeds, device=self.targets.device)

    def of_other_inputs(self) -> Tensor:
        """(N, …) maps of other inputs of the subject for the same targets, each chosen by its target alone.

        Not by its input: that would be told by whatever changes inputs, and not by what the map is of.
        """
        held = self.subject.inputs
        rows_of = [derive_seed("other input", target) % len(held) for target in self.targets.tolist()]
        chosen = torch.tensor(rows_of, device=held.device)
        same = (held[chosen] == self.inputs.to(held)).flatten(1).all(1)
        chosen = torch.where(same, (chosen + 1) % len(held), chosen)
        if current() is None:
            return self.explain(inputs=held[chosen])
        with rows(chosen.cpu()):
            return self.explain(inputs=held[chosen])


Change = Callable[[Call, float], Tensor]


@dataclass(frozen=True, eq=False)
class Operator:
    """A way to break a method.

    change: (call, amount) -> maps of the call's inputs. It raises Undefined where it has no meaning.
    statement: what these are, in one sentence.
    defect: of real code, for which it stands.
    needs: what a subject must offer for it.
    amount: what the number in `NAME(number)` is, empty where there is none. usual: that number, where none is
        given. least, most: between which it may lie.
    mixes: whether the amount is a dose, of which less is harder to see.
    parts: the functions that it is made of, where these are others than `change`.
    """

    name: str
    change: Change
    statement: str
    defect: str
    needs: frozenset[str] = frozenset()
    amount: str = ""
    usual: float = 0.0
    least: float = 0.0
    most: float = 1.0
    mixes: bool = False
    parts: tuple[Callable[..., Any], ...] = ()

    @property
    def source(self) -> str:
        """Digest of the modules that it is from."""
        return source_digest(*(self.parts or (self.change,)))

    def named(self, amount: float | None = None) -> str:
        """As it stands in a spec: `NAME`, or `NAME(amount)` where that is not the usual one."""
        usual = amount is None or not self.amount or amount == self.usual
        return self.name if usual else f"{self.name}({amount:g})"


DECLARED: dict[str, Operator] = {}


def operator(
    *,
    defect: str,
    needs: Iterable[str] = (),
    amount: str = "",
    usual: float = 0.0,
    least: float = 0.0,
    most: float = 1.0,
    mixes: bool = False,
) -> Callable[[Change], Operator]:
    """Declare an operator; its name and statement are the function's, the options are those of `Operator`."""

    def declare(change: Change) -> Operator:
        statement = (inspect.getdoc(change) or "").partition("\n")[0]
        needed = frozenset(needs)
        made = Operator(change.__name__, change, statement, defect, needed, amount, usual, least, most, mixes)
        DECLARED[made.name] = made
        return made

    return declare
