"""VarGrad."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import NotNegative, Several
from xattr_check.perturbation.gradients import MEMORY, gradients_at
from xattr_methods._arguments import expect_at_least
from xattr_methods.gradients.smoothgrad import neighbours


@method(
    claims=("dummy", "implementation_invariance", "input_shift_invariance", "dead_neurons"), keeps_rows=True
)
def vargrad(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    samples: Several = 25,
    noise: NotNegative = 0.15,
    seed: int = 0,
    memory: int = MEMORY,
) -> Tensor:
    """Variance of the gradient over Gaussian neighbours of the input, (N, *F), never negative. [adebayo2018]

    The unbiased variance, whose expectation does not depend on the number of samples.
    samples, noise, seed, memory: as for smoothgrad. Raises ValueError as it, and for a single sample.
    """
    if samples < 2:
        raise ValueError(f"vargrad: expected at least 2 samples, came {samples}; one has no variance")
    expect_at_least("vargrad", 0, noise=noise)
    points = neighbours(inputs, samples, noise, seed)
    mean, deviations = torch.zeros_like(inputs), torch.zeros_like(inputs)
    for rows, numbers, gradients in gradients_at(model, inputs, targets, points, samples, memory):
        # Squares around the mean of each chunk, merged: a difference of large sums would lose its digits.
        seen, new = numbers.start, len(gradients)
        centre = gradients.mean(0)
        shift = centre - mean[rows]
        deviations[rows] += (gradients - centre).square().sum(0) + shift.square() * seen * new / (seen + new)
        mean[rows] += shift * new / (seen + new)
    return deviations / (samples - 1)
