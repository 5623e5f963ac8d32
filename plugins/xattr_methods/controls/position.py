"""Control: where a word stands."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method


@method(control="negative", needs=("tokens",), keeps_rows=True)
def position(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The more the earlier a token stands, (N, T): what is said first. No model is asked."""
    count = inputs.shape[1]
    falling = torch.arange(count, 0, -1, device=inputs.device) / count
    return falling.to(torch.float32).repeat(len(inputs), 1)
