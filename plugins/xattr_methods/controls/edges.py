"""Control: an edge detector."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.core.method import method

SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


@method(control="negative", needs=("image",))
def edges(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Sobel magnitude of the channels' mean, (N, 1, H, W): what sanity checks must not mistake for a map."""
    kernel = torch.tensor(SOBEL, dtype=inputs.dtype, device=inputs.device)
    grey = functional.pad(inputs.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    both = functional.conv2d(grey, torch.stack([kernel, kernel.T]).unsqueeze(1))
    magnitude: Tensor = both.norm(dim=1, keepdim=True)
    return magnitude
