"""Occlusion of one column at a time."""

import torch
from torch import Tensor, nn

from xattr_check import method


@method(claims=("dummy",))
def column_occlusion(model: nn.Module, inputs: Tensor, targets: Tensor, *, fill: float = 0.0) -> Tensor:
    """What the logit of the target loses when a column is filled, (N, D).

    fill: the value that a column is given. Raises ValueError for inputs that are not columns (N, D).
    """
    if inputs.ndim != 2:
        raise ValueError(f"column_occlusion: expected columns (N, D), came {tuple(inputs.shape)}")
    count, columns = inputs.shape
    filled = inputs.repeat_interleave(columns, 0)
    filled[torch.arange(len(filled)), torch.arange(columns).repeat(count)] = fill
    with torch.no_grad():
        before = model(inputs).gather(1, targets[:, None])
        after = model(filled).gather(1, targets.repeat_interleave(columns)[:, None])
    return before - after.reshape(count, columns)
