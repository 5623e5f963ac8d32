"""Deconvnet."""

from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods.gradients.guided_backprop import slopes_through


class _Rectified(torch.autograd.Function):
    """ReLU that lets only positive gradients through, whatever its input was."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clamp_min(0)


@method(
    claims=("dummy", "input_shift_invariance", "scale_covariance", "permutation_equivariance"),
    sensitivity=True,
)
def deconvnet(model: nn.Module, inputs: Tensor, targets: Tensor, *, memory: int = MEMORY) -> Tensor:
    """Gradient with every ReLU applied to what comes back, and not to what went in, (N, *F). [zeiler2014]

    Max pools send it to the places of their maxima. memory: bytes of one chunk. Raises Declined where the
    model calls no ReLU: the result would be its plain gradient.
    """
    found = slopes_through(_Rectified, model, inputs, targets, memory)
    if found is None:
        raise Declined("deconvnet: the model calls no ReLU, so there is nothing to rectify")
    return found
