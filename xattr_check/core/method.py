"""A method: any function from (model, inputs, targets) to attributions, and what it says of itself."""

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from xattr_check.core.adapter import adapt, library_of
from xattr_check.core.arrays import Caller, as_tensor, form_of
from xattr_check.core.context import Contextual, current, rows
from xattr_check.core.serving import BY_ROW, Serving
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.storage.sources import text_digest

Explain = Callable[..., Tensor]
F = TypeVar("F", bound=Callable[..., Any])
Role = Literal["negative", "positive"]
ARGUMENTS = {"model", "inputs", "targets"}
# What a function may call its inputs that takes ids of tokens, and not their embeddings.
IDS_OF_TOKENS = {"ids", "input_ids", "token_ids"}
# What `baseline` may be fixed to, in place of a number: the mean of the subject's data.
MEAN = "mean"
# What a function may ask for by the name of a parameter, as a test of pytest asks for fixtures.
GIVEN: dict[str, Callable[[Subject], Any]] = {
    "layout": lambda subject: subject.layout,
    "explained": lambda subject: subject.output,
    "subject": lambda subject: subject,
}


@dataclass(frozen=True, eq=False)
class Method:
    """An attribution method under a name.

    function: (model, inputs (N, *F), targets (N,)) -> (N, *F) or (N, 1, *spatial), signed, higher = more
        evidence for the target.
    claims: the exact axioms that it promises, which then gate.
    stochastic: whether two calls may differ.
    sensitivity: whether its sign is a direction, as a gradient's is, and not evidence for or against the
        target; checks that rank features then read its magnitude.
    control: `negative` for what no check may reward, `positive` for what knows the truth, else None.
    needs: what a subject must offer for it (`image`, `mask`, …).
    keeps_rows: whether it calls models with other inputs in a scope of their rows, `chosen` of
        core/context.py, as what is in `perturbation` does.
    unit: of its maps, where they have one of their own, such as `bits`; empty for evidence in the model's.
    bound: the parameters that the subject it runs on has given.

    A function that has a parameter called as one of `GIVEN` is given it by its name, unless it was fixed.
    """

    name: str
    function: Explain
    claims: frozenset[str] = frozenset()
    stochastic: bool = False
    sensitivity: bool = False
    control: Role | None = None
    needs: frozenset[str] = frozenset()
    keeps_rows: bool = False
    unit: str = ""
    bound: frozenset[str] = frozenset()

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, **parameters: Any) -> Tensor:
        """Attributions of inputs (N, *F) for targets (N,); of an array, a tensor is made.

        Called by hand on a subject's own inputs, it finds the other ones of a model by itself.
        """
        by_hand = current() is None and not isinstance(self.function, Serving) and "context" not in parameters
        index = model.xattr_context.locate(inputs) if by_hand and isinstance(model, Contextual) else None
        if index is None:
            return self._maps(model, inputs, targets, parameters)
        # What does not keep rows asks about any number of inputs in any order.
        parts = index.split(len(index) if self.keeps_rows else 1)
        places = torch.arange(len(index)).split(len(parts[0]))
        found = []
        for some, place in zip(parts, places, strict=True):
            given = {
                name: one[place] if isinstance(one, Tensor) and one.shape == inputs.shape else one
                for name, one in parameters.items()
            }
            with rows(some):
                found.append(self._maps(model, inputs[place], targets[place], given))
        return torch.cat(found)

    def _maps(self, model: nn.Module, inputs: Tensor, targets: Tensor, parameters: dict[str, Any]) -> Tensor:
        maps: Tensor = as_tensor(self.function(model, inputs, targets, **parameters), inputs)
        return maps

    def __repr__(self) -> str:
        return f"<Method {self.name}>"

    @property
    def source(self) -> str:
        """Digest of the text that its function is from; empty where there is none, as of a builtin."""
        function = inspect.unwrap(self.function)
        while isinstance(function, partial):
            function = inspect.unwrap(function.func)
        return text_digest(function if inspect.isroutine(function) else type(function))

    @property
    def statement(self) -> str:
        """The first line of its docstring."""
        lines = (inspect.getdoc(self.function) or "").splitlines()
        return lines[0] if lines else ""

    def bind(self, subject: Subject) -> "Method":
        """The method as it runs on a subject, which it is given, or parts of it, where it asks by name."""
        asked = self._asked
        given = {name: of(subject) for name, of in GIVEN.items() if name in asked}
        if self._from_mean:
            asked |= {"baseline"}
        if "baseline" in asked and not subject.tokens and (self._from_mean or "baseline" in self._needed):
            given["baseline"] = subject.mean.expand_as(subject.inputs[:1])
        function = partial(self.function, **given) if given else self.function
        by_row = asked & set(BY_ROW) - (set() if subject.tokens else {"embedding", "baseline"})
        if subject.context:
            takes_ids = subject.tokens and ("embedding" in by_row or self._inputs_name in IDS_OF_TOKENS)
            if takes_ids:
                by_row -= {"baseline"}  # which is embedded
            blind = self.control is not None
            function = Serving(function, subject, takes_ids, self.keeps_rows, frozenset(by_row), blind)
        elif "context" in asked:
            function = partial(function, context={})
            given["context"] = {}
        return (
            replace(self, function=function, bound=frozenset(given))
            if function is not self.function
            else self
        )

    @property
    def takes_ids(self) -> bool:
        """Whether it is given ids of tokens on the subject that it is bound to, and not their embeddings."""
        return isinstance(self.function, Serving) and self.function.takes_ids

    @property
    def takes_one(self) -> bool:
        """Whether it is called on one input at a time on the subject that it is bound to."""
        return isinstance(self.function, Serving) and not self.function.takes_batches

    @property
    def _inputs_name(self) -> str:
        """What the function calls its inputs, empty where it does not tell."""
        try:
            named = list(inspect.signature(self.function).parameters)
        except (TypeError, ValueError):  # builtins have none
            return ""
        return "inputs" if "inputs" in named else named[1] if len(named) > 1 else ""

    @property
    def from_zero(self) -> bool:
        """Whether it has a `baseline` that is zero, or None for that, as reference methods have."""
        with suppress(TypeError, ValueError):  # builtins have no signature
            parameters = inspect.signature(self.function).parameters
            zero = parameters["baseline"].default if "baseline" in parameters else self
            return zero is None or (isinstance(zero, int | float) and zero == 0)
        return False

    @property
    def fixed(self) -> dict[str, Any]:
        """The parameters that have been given to its function, by name."""
        found: dict[str, Any] = {}
        function = self.function
        while isinstance(function, partial):
            found = {**function.keywords, **found}
            function = function.func
        return found

    @property
    def _from_mean(self) -> bool:
        """Whether the mean of the data was asked for as its baseline, by the word."""
        given = self.fixed.get("baseline")
        return isinstance(given, str) and given == MEAN

    @property
    def _needed(self) -> set[str]:
        """The parameters that have no default."""
        with suppress(TypeError, ValueError):  # builtins have no signature
            parameters = inspect.signature(self.function).parameters.values()
            return {one.name for one in parameters if one.default is one.empty}
        return set()

    @property
    def _asked(self) -> set[str]:
        """The parameters that it has besides model, inputs and targets, and that a user fixed nothing for."""
        function = self.function
        while isinstance(function, partial):
            function = function.func
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # builtins have none
            return set()
        named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        return named - ARGUMENTS - (set(self.fixed) - self.bound)

    def with_parameters(self, name: str, parameters: dict[str, Any]) -> "Method":
        """The method with keyword parameters fixed, under a new name. Raises UsageError for unknown ones."""
        if not parameters:
            return replace(self, name=name)
        signature = inspect.signature(self.function)
        names = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        # By their names where they have them: a function called by keywords has them in any order.
        known = [one for one in names if one not in ARGUMENTS] if set(names) >= ARGUMENTS else names[3:]
        open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        for key in parameters:
            if key not in known and not open_ended:
                raise UsageError(
                    option="method",
                    value=name,
                    expected=f"a parameter among {', '.join(known) or '(none)'}",
                    came=repr(key),
                )
        return replace(self, name=name, function=partial(self.function, **parameters))


def method(
    *,
    claims: Iterable[str] = (),
    stochastic: bool = False,
    sensitivity: bool = False,
    control: Role | None = None,
    needs: Iterable[str] = (),
    keeps_rows: bool = False,
    unit: str = "",
) -> Callable[[Explain], Method]:
    """Declare a reference method; the function's name is the method's."""

    def declare(function: Explain) -> Method:
        return Method(
            name=function.__name__,
            function=function,
            claims=frozenset(claims),
            stochastic=stochastic,
            sensitivity=sensitivity,
            control=control,
            needs=frozenset(needs),
            keeps_rows=keeps_rows,
            unit=unit,
        )

    return declare


def claims(*axioms: str) -> Callable[[F], F]:
    """Mark a function, or a class of callables, as promising exact axioms: `@claims("completeness")`."""

    def mark(function: F) -> F:
        function.__xattr_claims__ = frozenset(axioms)  # type: ignore[attr-defined]
        return function

    return mark


def stochastic(function: F) -> F:
    """Mark a function, or a class of callables, as allowed to differ between two calls."""
    function.__xattr_stochastic__ = True  # type: ignore[attr-defined]
    return function


def sensitivity(function: F) -> F:
    """Mark a function, or a class of callables, whose sign is a direction and not evidence, as a gradient's.

    The gradient of a logit is positive where more light would help, not where the evidence is: checks that
    rank features read its magnitude.
    """
    function.__xattr_sensitivity__ = True  # type: ignore[attr-defined]
    return function


def takes_numpy(function: F) -> F:
    """Mark a function, or a class of callables, that is given NumPy arrays, as Quantus gives them."""
    function.__xattr_numpy__ = True  # type: ignore[attr-defined]
    return function


def as_method(function: Any, name: str | None = None) -> Method:
    """A Method out of any callable with three arguments, or of an object that an adapter knows.

    Raises UsageError where it is not callable or cannot take (model, inputs, targets).
    """
    if isinstance(function, Method):
        return function if name is None else replace(function, name=name)
    label = name if name is not None else str(getattr(function, "__qualname__", type(function).__name__))
    wrong = partial(UsageError, option="method", value=label)
    if (library := library_of(function)) is not None:
        try:
            return as_method(adapt(library, function), label)
        except UsageError as error:
            raise error.about("method", label) from error.__cause__
    if isinstance(function, type):
        try:
            function = function()
        except TypeError as error:
            raise wrong(expected=f"a class that is called with no arguments: {error}") from None
    if not callable(function):
        raise wrong(
            expected="a function explain(model, inputs, targets)",
            came=f"{type(function).__name__} {function!r:.60}",
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins have none
        signature = None
    given = _given_by_name(signature)
    keywords = signature is not None and not _binds(signature, "model", "inputs", "targets", **given)
    if keywords and not _binds(signature, model=0, inputs=0, targets=0, **given):
        raise wrong(
            expected="a function that is called as explain(model, inputs, targets)",
            came=f"{getattr(function, '__name__', type(function).__name__)}{signature}",
        )
    form = form_of(function, signature)
    return Method(
        name=label,
        function=function if form == "tensors" and not keywords else Caller(function, form, keywords),
        claims=getattr(function, "__xattr_claims__", frozenset()),
        stochastic=getattr(function, "__xattr_stochastic__", False),
        sensitivity=getattr(function, "__xattr_sensitivity__", False),
    )


def _given_by_name(signature: inspect.Signature | None) -> dict[str, None]:
    """What a function of that signature needs by name, and is given by the subject that it runs on."""
    if signature is None:
        return {}
    needed = [name for name, one in signature.parameters.items() if one.default is one.empty]
    return {name: None for name in needed if name in (*GIVEN, *BY_ROW)}


def _binds(signature: inspect.Signature | None, *arguments: Any, **keywords: Any) -> bool:
    """Whether a function of that signature can be called so."""
    if signature is None:
        return True
    try:
        signature.bind(*arguments, **keywords)
    except TypeError:
        return False
    return True
