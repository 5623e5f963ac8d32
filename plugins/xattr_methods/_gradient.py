"""The gradient of the target's logit."""

import torch
from torch import Tensor, nn

from xattr_check.method import method


@method(sensitivity=True)
def gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Signed gradient of the target's logit with respect to the input, (N, *F). [simonyan2014]"""
    inputs = inputs.detach().requires_grad_()
    logits = model(inputs)
    # Rows do not mix in an eval-mode model, so one backward pass serves them all.
    selected = logits.gather(1, targets[:, None]).sum()
    (gradients,) = torch.autograd.grad(selected, inputs)
    return gradients
