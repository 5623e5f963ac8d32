"""GradCAM, and where class activation maps find their activations."""

from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_methods._arguments import expect_images
from xattr_methods.activations._watch import activation_and_gradient, enlarge


@method(claims=("input_shift_invariance", "dead_neurons", "input_independence"), needs=("image",))
def gradcam(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
    memory: int = MEMORY,
) -> Tensor:
    """Activations of a layer weighted by their mean gradients, rectified, (N, 1, H, W). [selvaraju2017]

    layer: a module's name; by default the last activation with spatial extent, be it a module's or a
    function's. call: which call of a module counts that is called several times, the last by default.
    memory: bytes of one chunk. Bilinear to the size of the input.
    Raises ValueError for inputs that are not images, and where there is no such layer.
    """
    expect_images("gradcam", inputs)

    def explain(inputs: Tensor, targets: Tensor) -> Tensor:
        activation, gradients = activation_and_gradient(model, inputs, targets, layer, call)
        weights = gradients.mean((2, 3), keepdim=True)
        return enlarge((weights * activation).sum(1, keepdim=True).clamp_min(0), inputs)

    return in_chunks(explain, model, inputs, targets, memory)
