"""GradCAM, and where class activation maps find their activations."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_methods._arguments import neighbours_of
from xattr_methods.activations._watch import activation_and_gradient


@method(
    claims=(
        "input_shift_invariance",
        "dead_neurons",
        "input_independence",
        "scale_covariance",
        "scale_invariance",
        "permutation_equivariance",
    ),
    needs=("neighbours",),
)
def gradcam(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Tensor:
    """Activations of a layer weighted by their mean gradients, rectified, (N, 1, H, W). [selvaraju2017]

    layer: a module's name; by default the last activation with spatial extent, be it a module's or a
    function's. call: which call of a module counts that is called several times, the last by default.
    memory: bytes of one chunk. Linear between the cells to the size of the input. Of a vision transformer a
    layer of tokens may be named, such as the first norm of the last block: its patches are the cells.
    Raises ValueError for inputs without neighbours, and where there is no such layer.
    """
    axes = neighbours_of("gradcam", inputs, layout)

    def explain(inputs: Tensor, targets: Tensor) -> Tensor:
        activation, gradients = activation_and_gradient(model, inputs, targets, layer, call)
        weights = gradients.mean(axes.ranked, keepdim=True)
        return axes.enlarged((weights * activation).sum(1, keepdim=True).clamp_min(0))

    return in_chunks(explain, model, inputs, targets, memory)
