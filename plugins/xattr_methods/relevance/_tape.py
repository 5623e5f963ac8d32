"""A forward pass written down call by call, for methods that send something else back than gradients.

No module is touched and no hook is left: every torch function that meets an activation is seen as it is
called, by a module, by a re-used module or by hand. A function without a rule is refused by name, so that a
plain gradient never passes for a relevance.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from xattr_check.errors import Declined
from xattr_methods._written_out import WRITTEN_OUT
from xattr_methods.relevance._calls import CONSTANT, ESCAPES, Call, described, kind_of, laid_apart, named

Pairs = Iterable[tuple[Tensor, Tensor]]


class Tape(TorchFunctionMode):
    """Runs a model and writes down every call that an activation takes part in.

    method: the name in messages. accepts: says of a call whether the method has a rule for it.
    values: whether the values of activations are all that is asked of it, so that nothing can be pulled back.
    An in-place function is called on a copy, and the copy stands for the original from then on.
    """

    def __init__(
        self, method: str, model: nn.Module, accepts: Callable[[Call], bool], *, values: bool = False
    ) -> None:
        super().__init__()
        self.method, self.model, self.accepts, self.values = method, model, accepts, values
        self.calls: list[Call] = []
        self.producer: dict[int, Call] = {}
        self._known: dict[int, Tensor] = {}
        self._written: dict[int, tuple[Tensor, Tensor]] = {}
        self._outdated: set[int] = set()

    def run(self, inputs: Tensor) -> Tensor:
        """The model's output for inputs (N, *F), which is the last activation of the tape."""
        self.input = self._follow(inputs)
        with torch.set_grad_enabled(not self.values), self:
            output = self._current(self.model(self.input))
        if not isinstance(output, Tensor) or id(output) not in self._known:
            raise Declined(
                f"{self.method}: the model's output was computed out of sight of torch functions, as by "
                "TorchScript; pass the model in plain PyTorch, or use xattr:integrated_gradients instead"
            )
        self.output = output
        return output

    @torch.no_grad()
    def backward(
        self, arriving: Tensor, rule: Callable[[Call, list[Tensor]], Pairs], at: Tensor | None = None
    ) -> Tensor:
        """Send something from the output back to the input, or to another activation. Raises ValueError.

        rule: for what arrives at a call's outputs, pairs of an earlier activation and what is sent to it.
        """
        target = self.input if at is None else at
        lead = arriving.shape[: arriving.ndim - self.output.ndim]  # of several things sent side by side
        carried = {id(self.output): arriving}
        for call in reversed(self.calls):
            if any(output is target for output in call.outputs):
                break
            found = [carried.pop(id(output), None) for output in call.outputs]
            if all(one is None for one in found):
                continue
            sent_on = [
                output.new_zeros(*lead, *output.shape) if one is None else one
                for one, output in zip(found, call.outputs, strict=True)
            ]
            for source, sent in rule(call, sent_on):
                held = carried.get(id(source))
                carried[id(source)] = sent if held is None else held + sent
        if id(target) not in carried:
            raise ValueError(
                f"{self.method}: nothing is sent to that layer, which the output does not depend on"
            )
        return carried[id(target)]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        leaves, layout = laid_apart(args, kwargs or {})
        leaves = [self._current(leaf) for leaf in leaves]
        sources = {id(leaf): leaf for leaf in leaves if id(leaf) in self._known}
        for leaf in leaves:
            if isinstance(leaf, Tensor) and id(leaf) not in sources and self._hides_activation(leaf):
                self._refuse("something computed out of sight of torch functions (TorchScript, an extension)")
        if self._outdated & set(sources):
            self._refuse("an activation that was written to through another view of it")
        name, in_place = named(func)
        if not sources or name in CONSTANT:
            args, kwargs = layout.arguments(leaves)
            return func(*args, **kwargs)
        if written_out := WRITTEN_OUT.get(func):
            args, kwargs = layout.arguments(leaves)
            with self:
                return written_out(*args, **kwargs)
        call = Call(name, "", func, leaves, layout, list(sources.values()), in_place)
        call.kind = kind_of(call, [id(leaf) for leaf in leaves if id(leaf) in sources])
        if name in ESCAPES:
            self._refuse(described(func))
        if not call.kind and not in_place:
            return self._aside(call)
        if not call.kind or not self.accepts(call):
            self._refuse(described(func))
        return self._record(call)

    def _record(self, call: Call) -> Any:
        """Call the function and write it down."""
        with torch.set_grad_enabled(not self.values):
            result, written = call.apply(call.leaves)
        values, layout = pytree.tree_flatten(result)
        for place, value in enumerate(values):
            if not isinstance(value, Tensor) or id(value) in self._known:
                continue
            if value.is_floating_point():
                call.raw.append(value)
                values[place] = self._follow(value)
                call.outputs.append(values[place])
                self.producer[id(values[place])] = call
            elif call.kind != "maximum":
                self._refuse(f"{described(call.func)} to {value.dtype}")
        if call.outputs:
            self.calls.append(call)
        if written:
            self._write(call.leaves[call.first], values[0])
        return pytree.tree_unflatten(values, layout)

    def _aside(self, call: Call) -> Any:
        """The result of a function without a rule, where it is a shape or the like, and not a tensor."""
        args, kwargs = call.layout.arguments(call.leaves)
        with torch.no_grad():
            result = call.func(*args, **kwargs)
        if any(isinstance(value, Tensor) for value in pytree.tree_leaves(result)):
            self._refuse(described(call.func))
        return result

    def _write(self, old: Tensor, new: Tensor) -> None:
        """Let a tensor stand for the one written to; other views of the same memory are out of date."""
        self._written[id(old)] = (old, new)
        place = old.untyped_storage().data_ptr()
        self._outdated |= {
            key for key, other in self._known.items() if other.untyped_storage().data_ptr() == place
        } - {id(old)}

    def _follow(self, value: Tensor) -> Tensor:
        leaf = value.detach().requires_grad_()
        self._known[id(leaf)] = leaf
        return leaf

    def _current(self, value: Any) -> Any:
        while id(value) in self._written:
            value = self._written[id(value)][1]
        return value

    def _hides_activation(self, tensor: Tensor) -> bool:
        """Whether a tensor that no recorded call returned was computed from an activation all the same."""
        seen, nodes = set(), [tensor.grad_fn]
        while nodes:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if id(getattr(node, "variable", None)) in self._known:
                return True
            nodes.extend(parent for parent, _ in node.next_functions)
        return False

    def _refuse(self, what: str) -> None:
        names = {id(module): name for name, module in self.model.named_modules() if name}
        where, frame = "", sys._getframe()
        while frame and not where:
            module = frame.f_locals.get("self")
            if isinstance(module, nn.Module) and id(module) in names:
                where = f", which {names[id(module)]} ({type(module).__name__}) calls"
            frame = frame.f_back  # type: ignore[assignment]
        raise Declined(
            f"{self.method}: there is no rule for {what}{where}; use xattr:integrated_gradients instead"
        )
