"""Occlusion."""

import torch
from torch import Tensor, nn

from xattr_check.method import method
from xattr_check.perturb import outputs_under, shared_masks

MEMORY = 256 * 2**20


def windows(spatial: tuple[int, ...], size: int, stride: int) -> Tensor:
    """(K, *spatial) bool: True inside each window; they start outside, so that borders are covered alike."""
    spans = []
    for length in spatial:
        starts = torch.arange(stride - size, length, stride)
        places = torch.arange(length)
        spans.append((places >= starts[:, None]) & (places < starts[:, None] + size))
    if len(spans) == 1:
        return spans[0]
    return (spans[0][:, None, :, None] & spans[1][None, :, None, :]).flatten(0, 1)


@method()
def occlusion(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: float = 0.0,
) -> Tensor:
    """Mean drop of the target's logit over the windows that cover a feature. [zeiler2014]

    Returns (N, 1, H, W), (N, D) or (N, T, 1).

    window, stride: in pixels, a quarter and an eighth of the shorter side by default; 1 and 1 for columns.
    baseline: the value inside a window.
    """
    spatial = tuple(inputs.shape[2:] if inputs.ndim == 4 else inputs.shape[1:2])
    size = window or (max(1, min(spatial) // 4) if inputs.ndim == 4 else 1)
    step = stride or (max(1, size // 2) if inputs.ndim == 4 else 1)
    inside = windows(spatial, size, step).to(inputs.device)
    keep = torch.cat([torch.ones_like(inside[:1]), ~inside])
    fill = torch.full_like(inputs, baseline)
    outputs = outputs_under(
        model, inputs, targets, fill, shared_masks(keep), len(keep), output="logit", memory=MEMORY
    )
    drops = outputs[:, :1] - outputs[:, 1:]
    cover = inside.flatten(1).to(drops)
    maps = ((drops @ cover) / cover.sum(0)).reshape(len(inputs), *spatial).to(inputs.dtype)
    return maps.unsqueeze(1) if inputs.ndim == 4 else maps.unsqueeze(-1) if inputs.ndim == 3 else maps
