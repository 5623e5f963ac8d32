"""CAM."""

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_methods._arguments import neighbours_of
from xattr_methods.activations._watch import watch_model


@method(
    claims=("input_shift_invariance", "dead_neurons", "scale_invariance", "permutation_equivariance"),
    needs=("neighbours",),
)
def cam(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Tensor:
    """Activations under the classifier weighted by the target's row of it, signed, (N, 1, H, W). [zhou2016]

    The mean of the cells, plus the classifier's bias, is the logit; this is verified for each input.
    layer, call, memory: as for gradcam. No gradient is taken. Linear between the cells.
    Raises ValueError for inputs without neighbours, and Declined for a model whose logits are not a linear
    map of the activation's global average.
    """
    axes = neighbours_of("cam", inputs, layout)

    @torch.no_grad()
    def explain(inputs: Tensor, targets: Tensor) -> Tensor:
        with watch_model(model, layer, classifier=True, axes=inputs.ndim) as watch:
            logits = model(inputs).gather(1, targets[:, None])
        activation = watch.activation(call)
        weight, bias = watch.classifier or (None, None)
        if weight is None or weight.shape[1] != activation.shape[1]:
            came = "no linear layer" if weight is None else f"one of {weight.shape[1]}"
            raise Declined(
                f"cam: expected a linear classifier of the {activation.shape[1]} channels of the activation, "
                f"came {came}; use gradcam, or name the layer under the classifier with layer=NAME"
            )
        cells = torch.einsum("nc...,nc->n...", activation, weight[targets]).unsqueeze(1)
        averaged = cells.mean(axes.ranked) + (0 if bias is None else bias[targets, None])
        gap = (averaged - logits).abs()
        scale = logits.abs() + cells.abs().mean(axes.ranked)
        if bool((gap > scale * torch.finfo(logits.dtype).eps ** 0.5).any()):
            raise Declined(
                "cam: expected logits that are a linear map of the activation's global average, came logits "
                f"{float(gap.max()):.3g} away from it; use gradcam, or name another layer with layer=NAME"
            )
        return axes.enlarged(cells)

    return in_chunks(explain, model, inputs, targets, memory)
