"""Control: the same value everywhere."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method


@method(control="negative", keeps_rows=True)
def constant(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """One for every feature, (N, *F)."""
    return torch.ones_like(inputs)
