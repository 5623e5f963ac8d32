"""Distillation guided routing."""

import math

import torch
from torch import Tensor, nn

from xattr_check.core.outputs import Output, output_of
from xattr_check.errors import Declined, Undefined
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import expect_at_least
from xattr_methods.pathways._neurons import Neurons, activations_of, of_all_inputs, slopes_of

# The authors' settings.
WEIGHT, RATE, MOMENTUM = 0.01, 0.01, 0.9


def optimised_gates(
    model: nn.Module, inputs: Tensor, meant: Output, iterations: int, start: float | str, seed: int
) -> list[Tensor]:
    """The gates of the neurons of each call, (n, *A) each, all inputs at once and each for itself."""
    generator = torch.Generator().manual_seed(seed)
    gates = []
    for activation in activations_of(model, inputs):
        one = activation[:1] if len(activation) == len(inputs) else activation
        if start == "random":
            # Alike for all inputs, so that no pathway depends on the other inputs of its batch.
            first = torch.rand(one.shape, generator=generator, dtype=torch.float64).to(one)
        else:
            first = torch.full_like(one, float(start))
        gates.append(torch.empty_like(activation).copy_(first.expand_as(activation)))
    with torch.no_grad():
        wanted = model(inputs)
    speeds = [torch.zeros_like(gate) for gate in gates]
    for _ in range(iterations):
        for gate in gates:
            gate.requires_grad_()
        with torch.enable_grad(), Neurons(lambda number, activation: activation * gates[number]):
            # Each input has a loss of its own; one backward pass serves them all.
            loss = _entropies(meant, model(inputs), wanted).sum()
        for gate, speed, slope in zip(gates, speeds, slopes_of(loss, gates), strict=True):
            speed.mul_(MOMENTUM).add_(slope).add_(WEIGHT)
            gate.detach_().sub_(speed, alpha=RATE).clamp_min_(0)
    return gates


def _entropies(meant: Output, outputs: Tensor, wanted: Tensor) -> Tensor:
    try:
        return meant.cross_entropy(outputs, wanted)
    except Undefined as error:
        raise Declined(f"dgr: {error}") from None


def dgr(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    iterations: int = 1000,
    start: float | str = 1.0,
    seed: int = 0,
    memory: int = MEMORY,
    explained: Output | str | None = None,
) -> tuple[Tensor, ...]:
    """How far the gate of a neuron stays open where closing gates must not change the outputs.

    Returns λ ≥ 0, (N, *A) for each call of an activation, in their order: the gates that make the cross
    entropy of Φ(x; λ ⊙ a) with Φ(x), and 0.01 Σ λ, small together, by gradient descent with momentum.
    targets have no part in it. [wang2018], as Eq. 3 of [khakzar2021].

    iterations: steps of the descent. start: of all gates, or `random` for between 0 and 1, from a seed.
    Some of what stays open were dead neurons, and more with `random` than with 1. explained: what the
    model's outputs mean, classes by default. memory: bytes of one chunk. Raises Declined where the model
    calls no ReLU or returns no probabilities, ValueError for other parameters.
    """
    expect_start("dgr", start)
    expect_at_least("dgr", 1, iterations=iterations)
    meant = output_of(explained)

    def find(some: Tensor, wanted: Tensor, memory: int) -> list[Tensor]:
        return optimised_gates(model, some, meant, iterations, start, seed)

    return of_all_inputs("dgr", find, model, inputs, targets, memory)


def expect_start(name: str, start: float | str) -> None:
    """Raise ValueError in the name of a method for gates that cannot start so."""
    if start != "random" and (isinstance(start, str) or not 0 < start < math.inf):
        raise ValueError(f"{name}: expected start 'random' or a finite number above 0, came {start!r}")
