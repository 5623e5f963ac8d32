"""The gradient times the input."""

from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_methods.gradients.gradient import gradient


@method(
    claims=(
        "dummy",
        "linearity",
        "symmetry",
        "implementation_invariance",
        "dead_neurons",
        "scale_covariance",
        "scale_invariance",
        "permutation_equivariance",
    ),
    keeps_rows=True,
)
def input_x_gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Gradient times input, (N, *F): the first-order effect of setting a value to zero. [shrikumar2017]"""
    return gradient(model, inputs, targets) * inputs
