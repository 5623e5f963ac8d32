"""Control: the truth."""

from torch import Tensor, nn

from xattr_check.method import method
from xattr_check.subject import Subject


@method(control="positive", needs=("mask",))
def oracle(model: nn.Module, inputs: Tensor, targets: Tensor, *, subject: Subject) -> Tensor:
    """The subject's mask of the object that makes the target, (N, 1, H, W). No model is asked."""
    mask = subject.truth["mask"]
    return mask[subject.locate(inputs).to(mask.device)].to(inputs)
