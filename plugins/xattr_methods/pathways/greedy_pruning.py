"""Pruning that is greedy, and pathological by design."""

import torch
from torch import Tensor, nn

from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import expect_at_least
from xattr_methods.pathways._neurons import (
    activations_of,
    call_by_call,
    contributions,
    expect_sparsity,
    flat,
    of_all_inputs,
    wanted_count,
)


def pruned(
    name: str, model: nn.Module, inputs: Tensor, targets: Tensor, sparsity: float, rounds: int
) -> list[Tensor]:
    """Which neurons of each call are left, (n, *A) bool each, all inputs at once and each for itself."""
    like, rows = activations_of(model, inputs), len(inputs)
    kept = flat([torch.ones_like(one, dtype=torch.bool) for one in like], rows)
    wanted = wanted_count(name, kept.shape[1], sparsity)
    at_once = None
    while True:
        scores = flat(contributions(model, inputs, targets, call_by_call(kept, like)), rows).abs_()
        # A closed gate has a score as well, but what is pruned never comes back.
        alive = kept & (scores > 0)
        over = (alive.sum(1) - wanted).clamp_min(0)
        at_once = over.add(rounds - 1).div(rounds, rounding_mode="floor") if at_once is None else at_once
        drops = over.minimum(at_once)
        if not bool(drops.any()):
            return call_by_call(alive, like)
        # A small part of a sort, which would take longer than the passes.
        most = int(drops.max())
        lowest = scores.masked_fill_(~alive, torch.inf).topk(most, 1, largest=False).indices
        dropped = torch.arange(most, device=lowest.device) < drops[:, None]
        kept &= ~torch.zeros_like(kept).scatter_(1, lowest, dropped)


def greedy_pruning(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    sparsity: float = 0.9,
    rounds: int = 100,
    memory: int = MEMORY,
) -> tuple[Tensor, ...]:
    """The neurons that are left when those that contribute least are pruned, but no dead ones. [khakzar2021]

    Returns (N, *A) bool for each call of an activation, in their order. In each round |a · ∂Φ/∂a| is computed
    on the pruned network, and those are multiplied by 0 for good for which it is lowest and not 0. It is made
    to fail: neurons that were dead come alive as others go, and stay. Algorithm 1.

    sparsity: the share of all neurons to be rid of. rounds: in how many those would go that are alive at
        first; each drops as many, at least one, and more rounds follow for those that come alive.
    memory: bytes of one chunk.

    What is counted is what has a score on the pruned network. Counting the neurons that no one pruned, dead
    ones included, as the algorithm is printed, never comes to an end where more are dead than are to stay.
    Raises Declined where the model calls no ReLU, ValueError for other parameters.
    """
    expect_sparsity("greedy_pruning", sparsity)
    expect_at_least("greedy_pruning", 1, rounds=rounds)

    def find(some: Tensor, wanted: Tensor, memory: int) -> list[Tensor]:
        return pruned("greedy_pruning", model, some, wanted, sparsity, rounds)

    return of_all_inputs("greedy_pruning", find, model, inputs, targets, memory)
