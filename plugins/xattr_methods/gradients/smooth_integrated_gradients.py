"""Integrated gradients, smoothed."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import Count, NotNegative
from xattr_check.perturbation.gradients import MEMORY, gradients_at
from xattr_methods._arguments import expect_at_least
from xattr_methods.gradients.integrated_gradients import Baseline, baseline_of, column, nodes_and_weights
from xattr_methods.gradients.smoothgrad import neighbours


@method(
    claims=("dummy", "linearity", "implementation_invariance", "dead_neurons", "scale_covariance"),
    keeps_rows=True,
)
def smooth_integrated_gradients(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    baseline: Baseline = None,
    samples: Count = 10,
    steps: Count = 20,
    noise: NotNegative = 0.15,
    seed: int = 0,
    memory: int = MEMORY,
) -> Tensor:
    """Integrated gradients averaged over Gaussian neighbours of the input, (N, *F). [smilkov2017]

    Its sum is the mean output of the neighbours less that of the baseline, so it is not complete.
    baseline, steps: as for integrated_gradients, by midpoints. samples, noise, seed: as for smoothgrad; of
    each neighbour `steps` gradients are taken. memory: bytes of one chunk. Raises ValueError as smoothgrad.
    """
    expect_at_least("smooth_integrated_gradients", 1, samples=samples)
    expect_at_least("smooth_integrated_gradients", 0, noise=noise)
    nodes, weights = (values.repeat(samples) for values in nodes_and_weights("midpoint", steps))
    nodes, weights = column(nodes, inputs), column(weights, inputs)
    neighbour = neighbours(inputs, samples, noise, seed)
    start = baseline_of("smooth_integrated_gradients", inputs, baseline)
    which = torch.arange(samples, device=inputs.device).repeat_interleave(steps)

    def difference(rows: slice, numbers: slice) -> Tensor:
        return neighbour(rows, which[numbers]) - start[rows]

    def points(rows: slice, numbers: slice) -> Tensor:
        return start[rows] + nodes[numbers] * difference(rows, numbers)

    total = torch.zeros_like(inputs)
    for rows, numbers, gradients in gradients_at(model, inputs, targets, points, len(nodes), memory):
        total[rows] += (difference(rows, numbers) * (weights[numbers] * gradients)).sum(0)
    return total / samples
