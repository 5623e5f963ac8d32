"""Guided backpropagation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xattr_check.core.method import method
from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import MEMORY, in_chunks, slopes


class _GuidedReLU(torch.autograd.Function):
    """ReLU that lets only positive gradients through, and only where its input is positive."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return inputs.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        passed: Tensor = gradients[0].clamp_min(0) * (inputs > 0)
        return passed


RELUS = {functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


class ReplacedReLU(TorchFunctionMode):
    """Puts an autograd function in place of every ReLU called in its scope, by a module or by hand.

    Modules are not touched, so that no hook can be left behind. An in-place ReLU is called out of place: its
    result is what the network goes on with in every form of the call but a bare statement.
    """

    def __init__(self, replacement: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.replacement = replacement
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in RELUS:
            self.calls += 1
            return self.replacement.apply(args[0] if args else kwargs["input"])
        return func(*args, **(kwargs or {}))


def slopes_through(
    replacement: type[torch.autograd.Function],
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    memory: int,
) -> Tensor | None:
    """Gradients at inputs (N, *F) with every ReLU replaced, None where the model calls none."""
    with ReplacedReLU(replacement) as replaced:
        found = in_chunks(partial(slopes, model), model, inputs, targets, memory)
    return found if replaced.calls else None


@method(
    claims=(
        "dummy",
        "input_shift_invariance",
        "dead_neurons",
        "scale_covariance",
        "permutation_equivariance",
    ),
    sensitivity=True,
)
def guided_backprop(model: nn.Module, inputs: Tensor, targets: Tensor, *, memory: int = MEMORY) -> Tensor:
    """Gradient in which every ReLU passes only positive gradients, (N, *F). [springenberg2015]

    memory: bytes of one chunk. Raises Declined where the model calls no ReLU: the result would be its
    plain gradient.
    """
    found = slopes_through(_GuidedReLU, model, inputs, targets, memory)
    if found is None:
        raise Declined("guided_backprop: the model calls no ReLU, so there is nothing to guide")
    return found
