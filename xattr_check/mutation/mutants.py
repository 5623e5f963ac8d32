"""Mutants: a right method under an operator, as an ordinary method with a spec, `mutant:OPERATOR@SPEC`."""

import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from torch import Tensor, nn

from xattr_check.core.method import Method
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.mutation import calls, maps
from xattr_check.mutation.mixing import mixing
from xattr_check.mutation.operator import DECLARED, Call, Operator
from xattr_check.wording import nearest

PREFIX = "mutant"
FORM = f"{PREFIX}:OPERATOR@SPEC, for example {PREFIX}:magnitude@xattr:gradcam"
# NAME or NAME(number).
TYPED = re.compile(r"(\w+)(?:\(([^()]*)\))?")


@cache
def operators() -> dict[str, Operator]:
    """Every operator by name: those on maps, those on calls, and those that mix."""
    order = {module.__name__: number for number, module in enumerate((maps, calls))}
    declared = sorted(DECLARED.values(), key=lambda one: order[one.change.__module__])
    return {**{one.name: one for one in declared}, **mixing()}


@dataclass(frozen=True, eq=False)
class Mutated:
    """Calls a method, and returns what an operator makes of it."""

    operator: Operator
    amount: float
    method: Method
    _memory: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # For inspect.getdoc.
        object.__setattr__(self, "__doc__", f"{self.operator.statement} Of {self.method.name}.")

    def __call__(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, *, subject: Subject, **parameters: Any
    ) -> Tensor:
        """Maps of inputs (N, *F), spoiled."""
        bound = self.method.bind(subject)
        call = Call(bound, subject, model, inputs, targets, parameters, self._memory)
        return self.operator.change(call, self.amount)


def mutant(operator: Operator, method: Method, amount: float | None = None) -> Method:
    """A method under an operator; it claims and declares what the right one does."""
    chosen = operator.usual if amount is None else amount
    return replace(
        method,
        name=f"{PREFIX}:{operator.named(amount)}@{method.name}",
        function=Mutated(operator, chosen, method),
        needs=method.needs | operator.needs,
        control=None,
        keeps_rows=True,  # the right method is bound for itself
        bound=frozenset(),
    )


def read_operator(text: str) -> tuple[Operator, float | None]:
    """The operator and its amount that `NAME` or `NAME(amount)` names. Raises UsageError."""
    found = TYPED.fullmatch(text)
    if found is None:
        raise UsageError(expected=FORM)
    name, given = found.groups()
    known = operators()
    if name not in known:
        raise UsageError(f"no operator {name!r}", hint=nearest(name, known))
    one = known[name]
    if given is None:
        return one, None
    if not one.amount:
        raise UsageError(f"{name} has no amount", hint=f"type {name} alone")
    try:
        amount = float(given)
    except ValueError:
        amount = float("nan")
    if not one.least < amount <= one.most:
        expected = f"{one.amount}, above {one.least:g} and at most {one.most:g}"
        raise UsageError(expected=expected, came=repr(given))
    return one, amount
