"""How coarsely a model computes: what one step of rounding may change is no defect of a method."""

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen

# Tolerances are written for it, and hold for whatever is finer.
SINGLE = torch.finfo(torch.float32).eps


def rounding_step(model: nn.Module, inputs: Tensor) -> float:
    """The largest step of rounding, as a share of a number, of a model's weights, inputs and outputs."""
    with torch.no_grad(), chosen(slice(1)):
        outputs = model(inputs[:1].clone())
    tensors = [*model.parameters(), *model.buffers(), inputs, outputs]
    kinds = {tensor.dtype for tensor in tensors if isinstance(tensor, Tensor) and tensor.is_floating_point()}
    return max((torch.finfo(kind).eps for kind in kinds), default=SINGLE)


def coarseness(model: nn.Module, inputs: Tensor) -> float:
    """`rounding_step` where it is coarser than that of float32, else 0."""
    step = rounding_step(model, inputs)
    return step if step > SINGLE else 0.0
