"""Control: a blob in the centre."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method


@method(control="negative", needs=("image",))
def center(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Gaussian blob in the centre, (N, 1, H, W), a quarter of each side wide: where photographers aim."""
    sides = [
        torch.linspace(-2, 2, side, dtype=inputs.dtype, device=inputs.device) for side in inputs.shape[2:]
    ]
    blob = torch.exp(-0.5 * (sides[0][:, None] ** 2 + sides[1][None, :] ** 2))
    return blob.expand(len(inputs), 1, *blob.shape).clone()
