"""Control: the truth."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.subject import Subject


@method(control="positive", needs=("mask",), keeps_rows=True)
def oracle(model: nn.Module, inputs: Tensor, targets: Tensor, *, subject: Subject) -> Tensor:
    """The subject's mask of what makes the target, (N, 1, H, W) of images. No model is asked.

    Where the subject knows how much each feature is worth to the target, it is that. Where it knows of
    another target, and that one is explained, it is the mask of what makes that.
    """
    truth = subject.truth
    rows = subject.locate(inputs).to(truth["mask"].device)
    mask = truth["worth" if "worth" in truth else "mask"][rows]
    if "other_target" in truth:
        other = targets.to(rows.device) == truth["other_target"][rows]
        mask = torch.where(other.reshape(-1, *[1] * (mask.ndim - 1)), truth["other_mask"][rows], mask)
    return mask.to(inputs)
