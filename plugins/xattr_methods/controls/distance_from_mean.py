"""Control: how far the input is from the mean of the data."""

from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.subject import Subject


@method(control="negative", needs=("mean_far_from_zero",), keeps_rows=True)
def distance_from_mean(model: nn.Module, inputs: Tensor, targets: Tensor, *, subject: Subject) -> Tensor:
    """Absolute difference of the input and the data's mean, (N, *F), where that is far from zero.

    What stands out of a white background is what is dark, which `input_magnitude` takes for nothing.
    """
    return (inputs - subject.mean).abs()
