"""SmoothGrad."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import Count, NotNegative
from xattr_check.perturbation.gradients import MEMORY, gradients_at
from xattr_methods._arguments import expect_at_least


def neighbours(
    inputs: Tensor, samples: int, noise: float, seed: int
) -> Callable[[slice, slice | Tensor], Tensor]:
    """Gaussian neighbours of each input, by rows (n of them) and numbers (k of them): (k, n, *F).

    noise: standard deviation, as a share of each input's range. seed: of the noise, which is the same for
    every input, so that a map never depends on the other inputs of its batch.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(samples, *inputs.shape[1:], generator=generator, dtype=torch.float64).to(inputs)
    flat = inputs.flatten(1)
    scale = (noise * (flat.amax(1) - flat.amin(1))).reshape(-1, *[1] * (inputs.ndim - 1))
    return lambda rows, numbers: inputs[rows] + scale[rows] * drawn[numbers].unsqueeze(1)


@method(
    claims=(
        "dummy",
        "linearity",
        "implementation_invariance",
        "input_shift_invariance",
        "dead_neurons",
        "scale_covariance",
    ),
    sensitivity=True,
    keeps_rows=True,
)
def smoothgrad(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    samples: Count = 25,
    noise: NotNegative = 0.15,
    seed: int = 0,
    memory: int = MEMORY,
) -> Tensor:
    """Signed gradient averaged over Gaussian neighbours of the input, (N, *F). [smilkov2017]

    noise: standard deviation, as a share of each input's range. seed: of the noise, which is the same for
    every input, so that a map never depends on the other inputs of its batch. memory: bytes of one chunk.
    Raises ValueError for no samples, and for negative noise.
    """
    expect_at_least("smoothgrad", 1, samples=samples)
    expect_at_least("smoothgrad", 0, noise=noise)
    points = neighbours(inputs, samples, noise, seed)
    total = torch.zeros_like(inputs)
    for rows, _, gradients in gradients_at(model, inputs, targets, points, samples, memory):
        total[rows] += gradients.sum(0)
    return total / samples
