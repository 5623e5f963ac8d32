"""Control: an edge detector."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_methods._arguments import neighbours_of


@method(control="negative", needs=("neighbours",))
def edges(model: nn.Module, inputs: Tensor, targets: Tensor, *, layout: Layout | str | None = None) -> Tensor:
    """How much neighbours differ, (N, 1, H, W): what sanity checks must not mistake for a map.

    Sobel magnitude of the channels' mean of images; of signals and volumes the norm of the differences.
    """
    return neighbours_of("edges", inputs, layout).edges(inputs)
