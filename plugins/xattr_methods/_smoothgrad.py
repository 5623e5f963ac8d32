"""SmoothGrad."""

import torch
from torch import Tensor, nn

from xattr_check.method import method
from xattr_methods._gradient import gradient
from xattr_methods._integrated_gradients import CHUNK


@method(sensitivity=True)
def smoothgrad(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """Signed gradient averaged over Gaussian neighbours of the input, (N, *F). [smilkov2017]

    noise: standard deviation, as a share of each input's range. seed: of the noise, which is the same for
    every input, so that a map never depends on the other inputs of its batch.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(samples, *inputs.shape[1:], generator=generator, dtype=torch.float64).to(inputs)
    flat = inputs.flatten(1)
    scale = (noise * (flat.amax(1) - flat.amin(1))).reshape(-1, *[1] * (inputs.ndim - 1))
    total = torch.zeros_like(inputs)
    for chunk in drawn.split(max(1, CHUNK // len(inputs))):
        neighbours = inputs + scale * chunk.unsqueeze(1)
        gradients = gradient(model, neighbours.flatten(0, 1), targets.repeat(len(chunk)))
        total += gradients.reshape(neighbours.shape).sum(0)
    return total / samples
