"""Guided GradCAM."""

from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import expect_images
from xattr_methods.activations.gradcam import gradcam
from xattr_methods.gradients.guided_backprop import guided_backprop


@method(sensitivity=True, needs=("image",))
def guided_gradcam(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
    memory: int = MEMORY,
) -> Tensor:
    """Guided backpropagation where GradCAM looks: their product, (N, C, H, W). [selvaraju2017]

    layer, call, memory: as for gradcam. Raises ValueError as gradcam and guided_backprop do.
    """
    expect_images("guided_gradcam", inputs)
    where = gradcam(model, inputs, targets, layer=layer, call=call, memory=memory)
    return guided_backprop(model, inputs, targets, memory=memory) * where
