"""SmoothGrad squared."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import Count, NotNegative
from xattr_check.perturbation.gradients import MEMORY, gradients_at
from xattr_methods._arguments import expect_at_least
from xattr_methods.gradients.smoothgrad import neighbours


@method(
    claims=("dummy", "implementation_invariance", "input_shift_invariance", "dead_neurons"), keeps_rows=True
)
def smoothgrad_squared(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    samples: Count = 25,
    noise: NotNegative = 0.15,
    seed: int = 0,
    memory: int = MEMORY,
) -> Tensor:
    """Squared gradient averaged over Gaussian neighbours of the input, (N, *F), never negative. [hooker2019]

    samples, noise, seed, memory, and errors: as for smoothgrad.
    """
    expect_at_least("smoothgrad_squared", 1, samples=samples)
    expect_at_least("smoothgrad_squared", 0, noise=noise)
    points = neighbours(inputs, samples, noise, seed)
    total = torch.zeros_like(inputs)
    for rows, _, gradients in gradients_at(model, inputs, targets, points, samples, memory):
        total[rows] += gradients.square().sum(0)
    return total / samples
