"""The neurons of a model: what its activations return, call by call."""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Size, Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xattr_check.core.context import chosen
from xattr_check.core.outputs import score
from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import in_chunks
from xattr_methods.gradients.guided_backprop import RELUS

# Piecewise linear, with a kink where they are 0: a neuron that is not 0 is away from it. A module of ReLU6
# calls hardtanh, whose kinks are elsewhere.
KINKED: set[Callable[..., Any]] = RELUS | {
    *(functional.leaky_relu, functional.leaky_relu_, functional.prelu, functional.relu6, functional.hardtanh),
}
# Nowhere linear, so that no choice of their neurons makes a linear pathway.
CURVED: set[Callable[..., Any]] = {
    *(functional.gelu, functional.silu, functional.mish, functional.hardswish, functional.softplus),
    *(functional.elu, functional.elu_, functional.celu, functional.celu_, functional.selu, functional.selu_),
}

# Maps the number of a call and what it returns, (n, *A), to what the model goes on with.
Through = Callable[[int, Tensor], Tensor]
# Maps inputs (n, *F), targets (n,) and the bytes of a chunk to values (n, *A) for each call.
Find = Callable[[Tensor, Tensor, int], Sequence[Tensor]]


class Neurons(TorchFunctionMode):
    """Puts what `through` makes of them in place of the outputs of all activations called in its scope.

    Modules are not touched, so that no hook can be left behind, and every call counts, also of a module that
    is used twice. What is inside of a function of torch, as in a recurrent layer, is not seen.

    name: of the method, for what it declines.
    """

    def __init__(self, through: Through, name: str = "pathways") -> None:
        super().__init__()
        self.through, self.name = through, name
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in CURVED:
            called = getattr(func, "__name__", "").strip("_")
            raise Declined(
                f"{self.name}: the model calls {called}, which is nowhere linear, and so is no pathway"
            )
        result = func(*args, **(kwargs or {}))
        if func not in KINKED:
            return result
        self.calls += 1
        return self.through(self.calls - 1, result)


def contributions(
    model: nn.Module, inputs: Tensor, targets: Tensor, kept: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """a · ∂Φ/∂a of each neuron of each call, (n, *A) each, where Φ is the target's output.

    kept: (n, *A) bool for each call: what is not is multiplied by 0, and its contribution is what it would be
    at the margin if it were not.
    """
    gates: list[Tensor] = []

    def through(number: int, activation: Tensor) -> Tensor:
        gate = torch.ones_like(activation) if kept is None else kept[number].to(activation)
        gates.append(gate.requires_grad_())
        return activation * gate

    with torch.enable_grad():
        with Neurons(through):
            outputs = model(inputs)
        # Rows do not mix in an eval-mode model, so one backward pass serves them all.
        return slopes_of(score(outputs, targets).sum(), gates)


def slopes_of(output: Tensor, gates: Sequence[Tensor]) -> list[Tensor]:
    """The derivatives of an output by gates, zero for those that it does not depend on."""
    if not gates or not output.requires_grad:
        return [torch.zeros_like(gate) for gate in gates]
    return list(torch.autograd.grad(output, gates, allow_unused=True, materialize_grads=True))


def activations_of(model: nn.Module, inputs: Tensor, name: str = "pathways") -> list[Tensor]:
    """What every call of an activation returns, (n, *A) each. name: of the method, for what it declines."""
    found: list[Tensor] = []

    def through(number: int, activation: Tensor) -> Tensor:
        found.append(activation.clone())
        return activation

    with torch.no_grad(), Neurons(through, name):
        model(inputs)
    return found


def flat(values: Sequence[Tensor], rows: int) -> Tensor:
    """(rows, all neurons): values of all calls, side by side."""
    # Of a single input, the first axis may be another.
    return torch.cat([one.flatten(1) if len(one) == rows else one.reshape(rows, -1) for one in values], 1)


def call_by_call(values: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """What `flat` made one of, in the shapes and memory formats of `like`."""
    # Of no inputs as well, so that sizes are not told by numbers of elements.
    sizes = [(one.shape[1:] if len(one) == len(values) else one.shape).numel() for one in like]
    parts = values.split(sizes, 1)
    return [
        torch.empty_like(one, dtype=values.dtype).copy_(part.reshape(one.shape))
        for part, one in zip(parts, like, strict=True)
    ]


def of_all_inputs(
    name: str,
    find: Find,
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    memory: int,
) -> tuple[Tensor, ...]:
    """What find(inputs, targets, bytes) tells of the neurons of each call, (N, *A), chunk by chunk.

    Raises Declined in the name of a method where the model calls no activation that has neurons.
    """
    memory = budget(name, model, inputs, memory)
    shapes: list[Size] = []

    def found(some: Tensor, wanted: Tensor) -> Tensor:
        values = find(some, wanted, memory)
        shapes[:] = [one.shape[1:] if len(one) == len(some) else one.shape for one in values]
        return flat(values, len(some))

    values = in_chunks(found, model, inputs, targets, memory)
    parts = values.split([shape.numel() for shape in shapes], 1)
    return tuple(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))


_shapes: "WeakKeyDictionary[nn.Module, dict[tuple[int, ...], list[list[Size]]]]" = WeakKeyDictionary()


def budget(name: str, model: nn.Module, inputs: Tensor, memory: int) -> int:
    """The bytes of one chunk: what is asked for, or those of a single input where inputs share activations.

    Activations whose first axis is not that of the inputs, as with times first, are told apart one input at a
    time. A model is looked at once for each shape of its inputs. Raises Declined in the name of a method for
    a model without activations that have neurons.
    """
    known = _shapes.setdefault(model, {})
    shape = tuple(inputs.shape[1:])
    if not len(inputs):
        known = {shape: [_shapes_of(name, model, inputs, 0)] * 2}
    elif shape not in known:
        known[shape] = [_shapes_of(name, model, inputs, count) for count in (1, 2)]
    one, two = known[shape]
    if not one:
        raise Declined(
            f"{name}: the model calls no ReLU, leaky or not, so there are no neurons to choose from"
        )
    apart = all(shape[:1] == (1,) for shape in one) and two == [Size([2, *shape[1:]]) for shape in one]
    return memory if apart else 1


def _shapes_of(name: str, model: nn.Module, inputs: Tensor, count: int) -> list[Size]:
    """Of the activations of the first input, so many times at once; none where that is too much."""
    which = torch.zeros(count, dtype=torch.int64)
    try:
        with chosen(which):
            return [one.shape for one in activations_of(model, inputs[which].detach(), name)]
    except torch.OutOfMemoryError:
        if count == 1:
            raise
        return []


def held(keep: Sequence[Tensor]) -> Neurons:
    """A scope in which neurons that are not kept are constants: they have their value, and no gradient.

    keep: (n, *A) bool for each call.
    """

    def through(number: int, activation: Tensor) -> Tensor:
        # On the way back alone: on the way there, nothing is changed.
        if activation.requires_grad:
            activation.register_hook(lambda slope: torch.where(keep[number], slope, 0))
        return activation

    return Neurons(through)


def gated(gates: Sequence[Tensor]) -> Neurons:
    """A scope in which activations are multiplied by gates (n, *A), one for each call."""
    return Neurons(lambda number, activation: activation * gates[number])


def expect_sparsity(name: str, sparsity: float) -> None:
    """Raise ValueError in the name of a method for a share that is none, or all."""
    if not 0 <= sparsity < 1:
        raise ValueError(f"{name}: expected a sparsity from 0 to below 1, came {sparsity:g}")


def wanted_count(name: str, neurons: int, sparsity: float) -> int:
    """How many of so many neurons a pathway has. Raises Declined in the name of a method for none."""
    count = round((1 - sparsity) * neurons)
    if count < 1:
        raise Declined(f"{name}: a sparsity of {sparsity:g} leaves none of the model's {neurons} neurons")
    return count
