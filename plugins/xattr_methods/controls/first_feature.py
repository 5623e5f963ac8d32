"""Control: one of several generated features."""

from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.subject import Subject


@method(control="negative", needs=("mask_a",))
def first_feature(model: nn.Module, inputs: Tensor, targets: Tensor, *, subject: Subject) -> Tensor:
    """The mask of the first generated feature, (N, 1, H, W), as if no other had any effect."""
    mask = subject.truth["mask_a"]
    return mask[subject.locate(inputs).to(mask.device)].to(inputs)
