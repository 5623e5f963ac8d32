"""Control: where a signal moves."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout, blurred
from xattr_check.core.method import method
from xattr_methods._arguments import neighbours_of

# Of an input's times: how far around a time its energy is taken, as the deviation of a Gaussian.
REACH = 1 / 32


@method(control="negative", needs=("signal",))
def local_energy(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, layout: Layout | str | None = None
) -> Tensor:
    """Mean square of the signal around each time, above its slow course, (N, 1, T): no model is asked."""
    axes = neighbours_of("local_energy", inputs, layout)
    reach = max(1.0, REACH * axes.spatial[0])
    fast = inputs - blurred(inputs, 4 * reach)
    return blurred((fast**2).mean(1, keepdim=True), reach)
