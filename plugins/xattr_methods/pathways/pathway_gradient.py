"""The gradient of the critical pathway."""

from functools import partial

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.layouts.beside import POOLS
from xattr_check.core.method import method
from xattr_check.core.outputs import Output, output_of
from xattr_check.core.ranges import Count, Partly
from xattr_check.perturbation.gradients import MEMORY, in_chunks, slopes
from xattr_methods._arguments import neighbours_of
from xattr_methods.pathways._neurons import budget, held
from xattr_methods.pathways.selection import Selection


def opened(values: Tensor, side: int) -> Tensor:
    """Values (N, C, *spatial), the smallest of each square of so many features, then the largest of those."""
    pool = partial(POOLS[values.ndim - 2], kernel_size=side, stride=1, padding=side // 2)
    smallest: Tensor = -pool(-values)
    largest: Tensor = pool(smallest)
    return largest


@method(
    claims=("dummy", "input_shift_invariance", "permutation_equivariance"), sensitivity=True, keeps_rows=True
)
def pathway_gradient(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    selection: str = "neuron_mct",
    sparsity: Partly = 0.9,
    opening: int = 0,
    steps: Count = 50,
    iterations: Count = 1000,
    start: float | str = 1.0,
    seed: int = 0,
    rounds: Count = 100,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
) -> Tensor:
    """Gradient at the input of the network in which all but the critical neurons are constant, (N, *F).

    A neuron is what an activation returns at one place, in each of its calls. Those that are not chosen keep
    the value that they have for the input, and pass no gradient, so that the network is linear around the
    input (Prop. 4 and 5 of [khakzar2021]).

    selection: what is chosen: the neurons of the largest `neuron_mct`, |a · ∂Φ/∂a|, or `neuron_intgrad`, of
        which only what speaks for the target is above 0; those whose gates `dgr` leaves open widest, or that
        `greedy_pruning` leaves, which are there to compare with: dead neurons are among them, and nothing is
        linear then.
    sparsity: the share of all neurons, of all calls together, that are not chosen: 0.9 for VGG-16 and 0.7 for
        ResNet-50. Of scores that equal the smallest, all are chosen; what is 0 never is.
    opening: side of the square by which the magnitude of the map is opened (eroded, then dilated), odd; 0 for
        the signed map as it is. The method is marked by a star then.
    steps: of neuron_intgrad. iterations, start, seed: of dgr. rounds: of greedy_pruning.
    explained: what the model's outputs mean, for dgr; classes by default. memory: bytes of one chunk.

    Serves ReLU, LeakyReLU and PReLU, whose only kink is where a neuron is 0, and ReLU6, whose other one is
    where it just reaches 6. Raises Declined where the model calls none of them, or one that is nowhere
    linear, as GELU and SiLU are: the propositions do not hold there. Raises ValueError for other parameters.
    """
    meant = output_of(explained)
    how = Selection(selection, sparsity, steps, iterations, start, seed, rounds, meant, "pathway_gradient")
    if opening < 0 or (opening and opening % 2 == 0):
        raise ValueError(f"pathway_gradient: expected an odd opening, or 0, came {opening}")
    if opening:
        side = min(neighbours_of("pathway_gradient", inputs, layout).spatial)
        if opening > side:
            raise ValueError(
                f"pathway_gradient: expected an opening of at most {side}, the shortest side, came {opening}"
            )
    memory = budget("pathway_gradient", model, inputs, memory)

    def explain(some: Tensor, wanted: Tensor) -> Tensor:
        with held(how.chosen(model, some, wanted, memory)):
            return slopes(model, some, wanted)

    found = in_chunks(explain, model, inputs, targets, memory)
    return opened(found.abs(), opening) if opening else found
