"""Control: a blob in the centre."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_methods._arguments import neighbours_of


@method(control="negative", needs=("neighbours",))
def center(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, layout: Layout | str | None = None
) -> Tensor:
    """Gaussian blob in the centre, (N, 1, H, W), a quarter of each side wide: where photographers aim."""
    blob = neighbours_of("center", inputs, layout).centre(inputs)
    return blob.expand(len(inputs), *blob.shape).clone()
