"""GradCAM."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.method import method


def last_spatial_layer(model: nn.Module, inputs: Tensor) -> str:
    """Name of the last leaf module whose output (N, C, h, w) has more than one cell. Raises ValueError."""
    found = ""

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal found
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                found = name

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            model(inputs[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError("gradcam: no module of this model returns (N, C, h, w) with more than one cell")
    return found


def layer_named(model: nn.Module, layer: str) -> nn.Module:
    """The module of that name. Raises ValueError with the names there are."""
    modules = dict(model.named_modules())
    if layer not in modules:
        names = ", ".join(name for name in modules if name and "." not in name)
        raise ValueError(f"layer={layer!r}: expected a module of the model, for example one of {names}")
    found: nn.Module = modules[layer]
    return found


def activation_and_gradient(
    model: nn.Module, inputs: Tensor, targets: Tensor, module: nn.Module
) -> tuple[Tensor, Tensor]:
    """A module's output and the gradient of the target's logit with respect to it."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # so that an in-place ReLU behind the module cannot change what was kept

    handle = module.register_forward_hook(keep)
    try:
        logits = model(inputs.detach().requires_grad_())
    finally:
        handle.remove()
    selected = logits.gather(1, targets[:, None]).sum()
    (gradients,) = torch.autograd.grad(selected, kept[-1])
    return kept[-1].detach(), gradients


@method(needs=("image",))
def gradcam(model: nn.Module, inputs: Tensor, targets: Tensor, *, layer: str | None = None) -> Tensor:
    """Activations of a layer weighted by their mean gradients, rectified, (N, 1, H, W). [selvaraju2017]

    layer: a module's name; by default the last one with spatial extent. Bilinear to the size of the input.
    Raises ValueError for inputs that are not images, and where there is no such layer.
    """
    if inputs.ndim != 4:
        raise ValueError(f"gradcam: expected images (N, C, H, W), came {tuple(inputs.shape)}")
    module = layer_named(model, layer or last_spatial_layer(model, inputs))
    activation, gradients = activation_and_gradient(model, inputs, targets, module)
    weights = gradients.mean((2, 3), keepdim=True)
    cells = (weights * activation).sum(1, keepdim=True).clamp_min(0)
    return functional.interpolate(cells, size=inputs.shape[2:], mode="bilinear", align_corners=False)
