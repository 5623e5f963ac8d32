"""Integrated gradients."""

import torch
from torch import Tensor, nn

from xattr_check.method import method
from xattr_methods._gradient import gradient

# Points of the path that are differentiated at once, over all inputs of the batch: more are slower on a CPU.
CHUNK = 64


@method(claims=("completeness",))
def integrated_gradients(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, baseline: Tensor | None = None, steps: int = 50
) -> Tensor:
    """Input minus baseline, times the gradient averaged on the line between them, (N, *F).

    baseline: broadcastable to inputs (N, *F), zero by default. steps: points of the midpoint rule.
    Completeness (Prop. 1 of [sundararajan2017]) holds up to the quadrature.
    """
    start = torch.zeros_like(inputs) if baseline is None else baseline.to(inputs).expand_as(inputs)
    # Midpoints: the end points would sample the kink at the baseline, where the gradient is undefined.
    points = (torch.arange(steps, device=inputs.device, dtype=inputs.dtype) + 0.5) / steps
    total = torch.zeros_like(inputs)
    for chunk in points.split(max(1, CHUNK // len(inputs))):
        scale = chunk.reshape(-1, *[1] * inputs.ndim)
        path = start + scale * (inputs - start)
        gradients = gradient(model, path.flatten(0, 1), targets.repeat(len(chunk)))
        total += gradients.reshape(path.shape).sum(0)
    return (inputs - start) * total / steps
