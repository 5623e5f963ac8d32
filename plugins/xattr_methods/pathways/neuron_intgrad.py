"""Integrated gradients of neurons."""

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen
from xattr_check.core.outputs import score
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.gradients import MEMORY, chunk_size, lay_out
from xattr_methods._arguments import expect_at_least
from xattr_methods.gradients.integrated_gradients import nodes_and_weights
from xattr_methods.pathways._neurons import Neurons, activations_of, of_all_inputs, slopes_of


def of_one_layer(model: nn.Module, inputs: Tensor, targets: Tensor, layer: int, shares: Tensor) -> Tensor:
    """(n, *A): a · ∂Φ/∂(αa), where the activations a of one call are multiplied by shares α (n,)."""
    gates: list[Tensor] = []

    def through(number: int, activation: Tensor) -> Tensor:
        if number != layer:
            return activation
        # Nothing before this call has to be differentiated, and so none of it is kept.
        torch.set_grad_enabled(True)
        along = shares.to(activation).reshape(-1, *[1] * (activation.ndim - 1))
        gates.append(torch.ones_like(activation).mul_(along).requires_grad_())
        return activation * gates[-1]

    with torch.no_grad():
        with Neurons(through):
            outputs = model(inputs)
        (found,) = slopes_of(score(outputs, targets).sum(), gates)
    return found


def integrated_contributions(
    model: nn.Module, inputs: Tensor, targets: Tensor, steps: int, memory: int
) -> list[Tensor]:
    """a · ∫ ∂Φ(αa)/∂a dα of the neurons of each call, (n, *A) each."""
    nodes, weights = nodes_and_weights("midpoint", steps)
    total = [torch.zeros_like(one) for one in activations_of(model, inputs)]

    def add(rows: slice, numbers: slice) -> None:
        shares, weight = nodes[numbers], weights[numbers]
        count = rows.stop - rows.start
        which = torch.arange(rows.start, rows.stop).repeat(len(shares))
        for layer, sum_so_far in enumerate(total):
            with chosen(which):
                found = of_one_layer(
                    model, lay_out(model, inputs[which]), targets[which], layer,
                    shares.repeat_interleave(count),
                )  # fmt: skip
            # The first axis of a single input's activations may be another.
            where = slice(None) if len(inputs) == 1 else rows
            found = found.reshape(len(shares), *sum_so_far[where].shape)
            sum_so_far[where] += torch.tensordot(weight.to(found), found, 1)

    for _ in Chunks(chunk_size(model, inputs, memory)).over_pairs(add, len(inputs), steps):
        pass
    return total


def neuron_intgrad(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, steps: int = 50, memory: int = MEMORY
) -> tuple[Tensor, ...]:
    """Integrated gradients of the neurons of each layer, from zero: a · ∫₀¹ ∂Φ(αaⁱ)/∂a dα.

    Returns (N, *A) for each call of an activation aⁱ, in their order, signed. The whole call is scaled, and
    what comes after it is computed anew, so that its scores add up to Φ(x) − Φ(aⁱ ← 0), up to the quadrature.
    Of a dead neuron it is 0. It is a score of neurons and no map: the map is `pathway_gradient`.

    steps: midpoints of the integral. memory: bytes of one chunk. [khakzar2021], Eq. 4. Raises Declined where
    the model calls no ReLU, ValueError for other parameters.
    """
    expect_at_least("neuron_intgrad", 1, steps=steps)

    def find(some: Tensor, wanted: Tensor, memory: int) -> list[Tensor]:
        return integrated_contributions(model, some, wanted, steps, memory)

    return of_all_inputs("neuron_intgrad", find, model, inputs, targets, memory)
