"""Critical pathways: the neurons that an output depends on most, chosen in several ways."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from xattr_check.core.outputs import Classes, Output, output_of
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import expect_at_least
from xattr_methods.pathways._neurons import (
    activations_of,
    expect_sparsity,
    flat,
    of_all_inputs,
    wanted_count,
)
from xattr_methods.pathways.dgr import expect_start, optimised_gates
from xattr_methods.pathways.greedy_pruning import pruned
from xattr_methods.pathways.neuron_intgrad import integrated_contributions
from xattr_methods.pathways.neuron_mct import marginal_contributions


@dataclass(frozen=True)
class Selection:
    """How the neurons of a pathway are chosen.

    name: one of `SELECTIONS`. sparsity: the share of all neurons, network-wide, that are not chosen.
    steps: of neuron_intgrad. iterations, start, seed, explained: of dgr. rounds: of greedy_pruning.
    asked_by: the method that asks, for errors.
    """

    name: str = "neuron_mct"
    sparsity: float = 0.9
    steps: int = 50
    iterations: int = 1000
    start: float | str = 1.0
    seed: int = 0
    rounds: int = 100
    explained: Output = field(default_factory=Classes)
    asked_by: str = "pathways"

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be."""
        name = self.asked_by
        if self.name not in SELECTIONS:
            raise ValueError(
                f"{name}: expected a selection among {', '.join(SELECTIONS)}, came {self.name!r}"
            )
        expect_sparsity(name, self.sparsity)
        expect_start(name, self.start)
        expect_at_least(name, 1, steps=self.steps, iterations=self.iterations, rounds=self.rounds)

    def chosen(self, model: nn.Module, inputs: Tensor, targets: Tensor, memory: int) -> list[Tensor]:
        """Which neurons of each call are chosen, (n, *A) bool each."""
        return SELECTIONS[self.name](self, model, inputs, targets, memory)

    def largest(self, scores: list[Tensor], rows: int) -> list[Tensor]:
        """Whose scores are the largest of all calls, and above 0; with all that equal the last."""
        values = flat(scores, rows)
        count = wanted_count(self.asked_by, values.shape[1], self.sparsity)
        least = values.topk(count, 1, sorted=False).values.amin(1)
        bounds = [least.reshape(-1, *[1] * (one.ndim - 1)) for one in scores]
        return [(one >= bound) & (one > 0) for one, bound in zip(scores, bounds, strict=True)]


Choose = Callable[[Selection, nn.Module, Tensor, Tensor, int], list[Tensor]]


def _by_mct(how: Selection, model: nn.Module, inputs: Tensor, targets: Tensor, memory: int) -> list[Tensor]:
    return how.largest(marginal_contributions(model, inputs, targets), len(inputs))


def _by_intgrad(
    how: Selection, model: nn.Module, inputs: Tensor, targets: Tensor, memory: int
) -> list[Tensor]:
    return how.largest(integrated_contributions(model, inputs, targets, how.steps, memory), len(inputs))


def _by_dgr(how: Selection, model: nn.Module, inputs: Tensor, targets: Tensor, memory: int) -> list[Tensor]:
    gates = optimised_gates(model, inputs, how.explained, how.iterations, how.start, how.seed)
    return how.largest(gates, len(inputs))


def _by_pruning(
    how: Selection, model: nn.Module, inputs: Tensor, targets: Tensor, memory: int
) -> list[Tensor]:
    return pruned(how.asked_by, model, inputs, targets, how.sparsity, how.rounds)


SELECTIONS: dict[str, Choose] = {
    "neuron_mct": _by_mct,
    "neuron_intgrad": _by_intgrad,
    "dgr": _by_dgr,
    "greedy_pruning": _by_pruning,
}


@dataclass(frozen=True, eq=False)
class Pathways:
    """The neurons of each input's pathway, (N, *A) bool for each call of an activation, in their order.

    neurons: those that were chosen. active: those that are not 0 for the input, as the network is.
    """

    neurons: tuple[Tensor, ...]
    active: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.neurons[0])

    @property
    def size(self) -> Tensor:
        """(N,) int64: of how many neurons each consists."""
        return flat(self.neurons, len(self)).sum(1)

    @property
    def dead_share(self) -> Tensor:
        """(N,) float64: the share of neurons that were dead before any was pruned; NaN of none."""
        dead = flat(self.neurons, len(self)) & ~flat(self.active, len(self))
        return dead.sum(1).double() / self.size

    def overlap(self, other: "Pathways") -> Tensor:
        """(N,) float64: how many neurons two pathways share, over how many either has.

        Raises ValueError for pathways of another number of inputs, or through another model.
        """
        self._expect_alike(other)
        return _jaccard(flat(self.neurons, len(self)), flat(other.neurons, len(other)))

    def overlap_by_call(self, other: "Pathways") -> Tensor:
        """(calls, N) float64: the same for each call alone; NaN where neither has a neuron."""
        self._expect_alike(other)
        pairs = zip(self.neurons, other.neurons, strict=True)
        return torch.stack([_jaccard(one.flatten(1), another.flatten(1)) for one, another in pairs])

    def _expect_alike(self, other: "Pathways") -> None:
        if len(self) != len(other):
            raise ValueError(
                f"Pathways.overlap: expected pathways of {len(self)} inputs, came those of {len(other)}"
            )
        own, others = ([list(one.shape[1:]) for one in each.neurons] for each in (self, other))
        if own != others:
            raise ValueError(
                f"Pathways.overlap: expected pathways through the same neurons, of calls {own}, "
                f"came ones of calls {others}"
            )


def _jaccard(one: Tensor, other: Tensor) -> Tensor:
    return (one & other).sum(1).double() / (one | other).sum(1)


def pathways(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    selection: str = "neuron_mct",
    sparsity: float = 0.9,
    steps: int = 50,
    iterations: int = 1000,
    start: float | str = 1.0,
    seed: int = 0,
    rounds: int = 100,
    memory: int = MEMORY,
    explained: Output | str | None = None,
) -> Pathways:
    """The pathways of inputs (N, *F) to the outputs of targets (N,): parameters as of `pathway_gradient`."""
    how = Selection(selection, sparsity, steps, iterations, start, seed, rounds, output_of(explained))

    def find(some: Tensor, wanted: Tensor, memory: int) -> list[Tensor]:
        return [*how.chosen(model, some, wanted, memory), *(one != 0 for one in activations_of(model, some))]

    found = of_all_inputs("pathways", find, model, inputs, targets, memory)
    half = len(found) // 2
    return Pathways(found[:half], found[half:])
