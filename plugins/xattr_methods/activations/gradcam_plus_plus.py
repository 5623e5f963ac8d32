"""GradCAM++."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_methods._arguments import neighbours_of
from xattr_methods.activations._watch import activation_and_gradient


@method(
    claims=("input_shift_invariance", "dead_neurons", "scale_invariance", "permutation_equivariance"),
    needs=("neighbours",),
)
def gradcam_plus_plus(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Tensor:
    """Activations weighted by sums of positive gradients, rectified, (N, 1, H, W). [chattopadhyay2018]

    The weight of a channel is Σ α relu(g) over its cells with α = g² / (2 g² + g³ ΣA): the derivatives of the
    logit's exponential, up to a factor for each input. It presumes activations A ≥ 0, as behind a ReLU.
    layer, call, memory: as for gradcam. Raises ValueError as gradcam does.
    """
    axes = neighbours_of("gradcam_plus_plus", inputs, layout)

    def explain(inputs: Tensor, targets: Tensor) -> Tensor:
        activation, gradients = activation_and_gradient(model, inputs, targets, layer, call)
        positive = gradients.clamp_min(0)
        # α relu(g) with g² cancelled: nothing is divided by zero where the gradient is zero.
        shares = positive / (2 + positive * activation.sum(axes.ranked, keepdim=True))
        weights = shares.sum(axes.ranked, keepdim=True)
        return axes.enlarged((weights * activation).sum(1, keepdim=True).clamp_min(0))

    return in_chunks(explain, model, inputs, targets, memory)
