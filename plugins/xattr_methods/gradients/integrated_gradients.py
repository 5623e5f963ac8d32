"""Integrated gradients."""

import numpy as np
import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import Count
from xattr_check.perturbation.gradients import MEMORY, gradients_at, in_chunks
from xattr_methods._arguments import like_inputs

Baseline = Tensor | float | None


def baseline_of(name: str, inputs: Tensor, baseline: Baseline) -> Tensor:
    """The baseline (N, *F) of each input: zero for None, or what is broadcast to it. Raises ValueError."""
    return like_inputs(name, inputs, baseline=0.0 if baseline is None else baseline)


def nodes_and_weights(quadrature: str, steps: int) -> tuple[Tensor, Tensor]:
    """Points in [0, 1] and their weights, which sum to one, (steps,) float64 each. Raises ValueError."""
    least = 2 if quadrature == "trapezoid" else 1
    if steps < least:
        raise ValueError(f"steps: expected at least {least} for quadrature={quadrature!r}, came {steps}")
    index = torch.arange(steps, dtype=torch.float64)
    even = torch.full_like(index, 1 / steps)
    if quadrature == "midpoint":
        return (index + 0.5) / steps, even
    if quadrature == "left":
        return index / steps, even
    if quadrature == "right":
        return (index + 1) / steps, even
    if quadrature == "trapezoid":
        weights = torch.full_like(index, 1 / (steps - 1))
        weights[[0, -1]] /= 2
        return index / (steps - 1), weights
    if quadrature == "gauss_legendre":
        nodes, weights = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(steps))
        return (nodes + 1) / 2, weights / 2
    raise ValueError(
        f"quadrature={quadrature!r}: expected midpoint, trapezoid, gauss_legendre, left or right"
    )


def column(values: Tensor, like: Tensor) -> Tensor:
    """Values (k,) as a tensor that multiplies (k, *like.shape), on its device and of its type."""
    return values.to(like).reshape(-1, *[1] * like.ndim)


@method(
    claims=(
        "completeness",
        "dummy",
        "sensitivity",
        "linearity",
        "symmetry",
        "implementation_invariance",
        "dead_neurons",
        "scale_covariance",
        "permutation_equivariance",
    ),
    keeps_rows=True,
)
def integrated_gradients(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    baseline: Baseline = None,
    steps: Count = 50,
    quadrature: str = "midpoint",
    memory: int = MEMORY,
) -> Tensor:
    """Input minus baseline, times the gradient averaged on the line between them, (N, *F).

    baseline: a number, or a tensor broadcastable to inputs (N, *F); zero by default. steps: gradients taken
    on the line. quadrature: where, and with which weights: `midpoint`, `trapezoid`, `gauss_legendre`, or the
    Riemann sums `left` and `right`. memory: bytes of one chunk.
    Completeness (Prop. 1 of [sundararajan2017]) holds up to the quadrature; `convergence_delta` measures it.
    Where the output is steep on the line, as from an absent text through an LSTM, 50 steps are too few, and
    1000 may be: the check of completeness then fails, and rightly.
    Raises ValueError for another quadrature.
    """
    # Midpoints by default: the end points would sample the kink at the baseline, where the gradient is
    # undefined.
    nodes, weights = (column(values, inputs) for values in nodes_and_weights(quadrature, steps))
    start = baseline_of("integrated_gradients", inputs, baseline)
    difference = inputs - start

    def points(rows: slice, numbers: slice) -> Tensor:
        return start[rows] + nodes[numbers] * difference[rows]

    total = torch.zeros_like(inputs)
    for rows, numbers, gradients in gradients_at(model, inputs, targets, points, steps, memory):
        total[rows] += (weights[numbers] * gradients).sum(0)
    return difference * total


@torch.no_grad()
def convergence_delta(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    maps: Tensor,
    baseline: Baseline = None,
    *,
    memory: int = MEMORY,
) -> Tensor:
    """Σ a − (f(x) − f(x′)) of each input, (N,) float64, in logits: zero where attributions are complete.

    maps: (N, *F) or (N, 1, *spatial), the attributions a. baseline: x′, as for integrated_gradients.
    """

    def change(inputs: Tensor, targets: Tensor, start: Tensor) -> Tensor:
        both: Tensor = model(inputs).double() - model(start).double()
        return both.gather(1, targets[:, None]).squeeze(1)

    start = baseline_of("convergence_delta", inputs, baseline)
    changes = in_chunks(change, model, inputs, targets, memory, start)
    return maps.double().flatten(1).sum(1) - changes
