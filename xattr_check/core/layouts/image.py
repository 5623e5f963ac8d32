"""Images."""

import torch
from torch import Tensor
from torch.nn import functional

from xattr_check.core.layouts.beside import Beside

SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


class Image(Beside):
    """(C, H, W): a feature is a pixel, which is so many channels."""

    name = "image"
    axes = "(N, C, H, W)"
    rank = 3
    channels = -3
    alike = (0, 2, 3)
    canvas = "blur"  # [petsiuk2018]
    # Convolutions are some three times faster in it.
    memory_format = torch.channels_last

    def edges(self, inputs: Tensor) -> Tensor:
        """(N, 1, H, W): Sobel magnitude of the channels' mean."""
        kernel = torch.tensor(SOBEL, dtype=inputs.dtype, device=inputs.device)
        grey = functional.pad(inputs.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        both = functional.conv2d(grey, torch.stack([kernel, kernel.T]).unsqueeze(1))
        magnitude: Tensor = both.norm(dim=1, keepdim=True)
        return magnitude
