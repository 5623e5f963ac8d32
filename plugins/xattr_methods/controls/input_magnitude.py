"""Control: the input itself."""

from torch import Tensor, nn

from xattr_check.core.method import method


@method(control="negative", keeps_rows=True)
def input_magnitude(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Absolute value of the input, (N, *F)."""
    return inputs.abs()
