"""The marginal contributions of neurons, by a Taylor approximation."""

from torch import Tensor, nn

from xattr_check.perturbation.gradients import MEMORY
from xattr_methods.pathways._neurons import contributions, of_all_inputs


def marginal_contributions(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    """|a · ∂Φ/∂a| of the neurons of each call, (n, *A) each, all inputs at once."""
    return [one.abs_() for one in contributions(model, inputs, targets)]


def neuron_mct(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, memory: int = MEMORY
) -> tuple[Tensor, ...]:
    """How much the target's output changes, to first order, when a neuron is taken away: |a · ∂Φ/∂a|.

    Returns (N, *A) for each call of an activation, in their order. Of a dead neuron it is 0. It is a score of
    neurons and no map: the map is the gradient of the pathway that the largest make, `pathway_gradient`.
    memory: bytes of one chunk. [khakzar2021], Sec. 3.3. Raises Declined where the model calls no ReLU.
    """

    def find(some: Tensor, wanted: Tensor, memory: int) -> list[Tensor]:
        return marginal_contributions(model, some, wanted)

    return of_all_inputs("neuron_mct", find, model, inputs, targets, memory)
