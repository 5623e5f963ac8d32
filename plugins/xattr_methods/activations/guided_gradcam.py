"""Guided GradCAM."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import neighbours_of
from xattr_methods.activations.gradcam import gradcam
from xattr_methods.gradients.guided_backprop import guided_backprop


@method(claims=("permutation_equivariance",), sensitivity=True, needs=("neighbours",))
def guided_gradcam(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Tensor:
    """Guided backpropagation where GradCAM looks: their product, (N, C, H, W). [selvaraju2017]

    layer, call, memory: as for gradcam. Raises ValueError as gradcam and guided_backprop do.
    """
    axes = neighbours_of("guided_gradcam", inputs, layout)
    where = gradcam(model, inputs, targets, layer=layer, call=call, memory=memory, layout=axes)
    return guided_backprop(model, inputs, targets, memory=memory) * where
