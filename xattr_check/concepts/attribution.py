"""Semantic attribution: which units a prediction depends on, by the concepts that they detect."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.concepts.dissection import Dissection
from xattr_check.concepts.units import Units, in_training
from xattr_check.core.context import chosen
from xattr_check.core.outputs import score
from xattr_check.core.state import full_precision
from xattr_check.errors import ConceptError
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.gradients import MEMORY, chunk_size, lay_out


@dataclass(frozen=True, eq=False)
class SemanticAttribution:
    """What the units of a layer contribute to the outputs of inputs.

    units: the layer. concepts: (K,) what each unit detects, empty where nothing.
    contributions: (N, K, *cells), signed; those of an input add up to what its output loses where all are 0.
    """

    units: Units
    concepts: Sequence[str]
    contributions: Tensor

    @property
    def scores(self) -> Tensor:
        """(N, K): how much the output depends on each unit, the sum of the magnitudes of its places."""
        return self.contributions.flatten(2).abs().sum(2)

    @property
    def order(self) -> Tensor:
        """(N, K) int64: the units of each input, that of the highest score first."""
        return self.scores.argsort(dim=1, descending=True, stable=True)

    def names(self, most: int = 1) -> list[list[str]]:
        """What so many units of the highest scores detect, for each input; empty for no detector."""
        return [[self.concepts[unit] for unit in row] for row in self.order[:, :most].tolist()]

    def maps(self, rank: int = 0) -> Tensor:
        """(N, 1, *spatial): where a unit contributes, that of the highest score for rank 0, from −1 to 1.

        Over the largest magnitude in each, linear between the cells.
        """
        own = self.contributions[torch.arange(len(self.contributions)), self.order[:, rank]][:, None]
        largest = own.abs().flatten(1).amax(1).reshape(-1, *[1] * (1 + len(self.units.cells)))
        return self.units.axes.enlarged(own / largest.clamp_min(torch.finfo(own.dtype).tiny))


def semantic_attribution(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    dissection: Dissection,
    *,
    steps: int = 50,
    memory: int = MEMORY,
) -> SemanticAttribution:
    """Which units an output depends on, named by the concepts that they detect. [khakzar2021c], Eq. 6

    The contribution of a place is a · ∫₀¹ ∂f(αa)/∂a dα, where all units a of the layer are scaled at once and
    what comes behind them is computed anew.

    model: that of the dissection, in eval mode. inputs: (N, *F), any. targets: (N,) int64, the outputs that
    are explained. steps: midpoints of the integral. memory: bytes of one chunk.
    Raises ConceptError, a ValueError, for inputs of another shape than were dissected, and where the output
    does not depend on the layer.
    """
    units = dissection.units
    if model.training:
        raise in_training()
    if steps < 1:
        raise ConceptError(option="steps", value=steps, expected="at least 1")
    if tuple(inputs.shape[1:]) != units.axes.shape or not len(inputs):
        expected = f"inputs {(*'N', *units.axes.shape)} as were dissected".replace("'", "")
        raise ConceptError(expected=expected, came=str(tuple(inputs.shape)))
    nodes = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    total = torch.zeros(len(inputs), units.count, *units.cells, dtype=inputs.dtype, device=inputs.device)

    def add(rows: slice, numbers: slice) -> None:
        shares, count = nodes[numbers], rows.stop - rows.start
        which = torch.arange(rows.start, rows.stop).repeat(len(shares))
        with chosen(which):
            found = _slopes(
                model, lay_out(model, inputs[which]), targets[which], units, shares.repeat_interleave(count)
            )
        total[rows] += found.reshape(len(shares), *total[rows].shape).sum(0) / steps

    with full_precision(inputs.device):
        for _ in Chunks(chunk_size(model, inputs, memory)).over_pairs(add, len(inputs), steps):
            pass
    return SemanticAttribution(units, dissection.names, total)


def _slopes(model: nn.Module, inputs: Tensor, targets: Tensor, units: Units, shares: Tensor) -> Tensor:
    """(n, K, *cells): a · ∂f/∂(αa), where the units a are multiplied by shares α (n,)."""
    held: list[Tensor] = []

    def see(activation: Tensor) -> Tensor:
        # Nothing before the layer has to be differentiated, and so none of it is kept.
        torch.set_grad_enabled(True)
        along = shares.to(activation).reshape(-1, *[1] * (activation.ndim - 1))
        held[:] = [activation.clone(), (activation * along).requires_grad_()]
        # What follows may be a ReLU in place, which no leaf can take.
        return held[1].clone()

    with torch.no_grad():
        with units.through(model, see):
            outputs = model(inputs)
        explained = score(outputs, targets).sum()
        if not explained.requires_grad or not held:
            raise _independent(units)
        (found,) = torch.autograd.grad(explained, held[1], allow_unused=True)
    if found is None:
        raise _independent(units)
    return found * held[0]


def _independent(units: Units) -> ConceptError:
    """The error of a layer that is called, and that the output does not depend on."""
    expected, came = "one that the output depends on", "one that it does not"
    return ConceptError(option="layer", value=units.layer, expected=expected, came=came)
