"""The gradient of the target's logit, at the input and at many points around it."""

from functools import partial

from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.perturbation.gradients import in_chunks, slopes


@method(
    claims=(
        "dummy",
        "linearity",
        "symmetry",
        "implementation_invariance",
        "input_shift_invariance",
        "dead_neurons",
        "scale_covariance",
        "permutation_equivariance",
    ),
    sensitivity=True,
    keeps_rows=True,
)
def gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Signed gradient of the target's logit with respect to the input, (N, *F). [simonyan2014]"""
    return in_chunks(partial(slopes, model), model, inputs, targets, None)
