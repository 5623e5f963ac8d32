"""What stands where a feature is removed."""

import torch
from torch import Tensor
from torch.nn import functional

from xattr_check.subject import Subject


def blurred(inputs: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) under a Gaussian of sigma pixels, reflected at the border."""
    radius = min(int(3 * sigma + 0.5), min(inputs.shape[2:]) - 1)
    steps = torch.arange(-radius, radius + 1, dtype=inputs.dtype, device=inputs.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(inputs.shape[1], 1, -1)
    padded = functional.pad(inputs, (radius, radius, radius, radius), mode="reflect")
    rows = functional.conv2d(padded, kernel[:, :, None, :], groups=inputs.shape[1])
    return functional.conv2d(rows, kernel[:, :, :, None], groups=inputs.shape[1])


def mean_fill(subject: Subject, inputs: Tensor) -> Tensor:
    """The mean of the subject's inputs, by channel for images and by column otherwise, as inputs (N, *F)."""
    over = (0, 2, 3) if subject.is_image else (0,)
    return subject.inputs.mean(over, keepdim=True).expand_as(inputs)
