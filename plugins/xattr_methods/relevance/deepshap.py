"""DeepSHAP."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import Count, NotNegative
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import expect_at_least
from xattr_methods.relevance.deeplift import baseline_rows, contributions


@method(claims=("completeness", "dummy", "sensitivity", "linearity", "scale_covariance"))
def deepshap(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    background: Tensor | None = None,
    samples: Count = 10,
    noise: NotNegative = 1.0,
    rule: str = "rescale",
    seed: int = 0,
    memory: int = MEMORY,
) -> Tensor:
    """DeepLIFT averaged over a background of baselines, (N, *F). [lundberg2017]

    background: (S, *F), such as inputs of the training set; by default `samples` draws of normal noise around
        zero, of the deviation `noise`, as normalised inputs have: the same for all inputs, so that a map
        never depends on the others of its batch.
    rule: as for deeplift. memory: bytes that one chunk of inputs may take, activations included.

    Completeness: a map sums to the logit minus its mean over the background. Raises ValueError as deeplift.
    """
    if background is None:
        expect_at_least("deepshap", 1, samples=samples)
        expect_at_least("deepshap", 0, noise=noise)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(samples, *inputs.shape[1:], generator=generator, dtype=torch.float64)
        background = noise * drawn.to(inputs)
    references = [baseline_rows("deepshap", inputs, row[None]) for row in background]
    return contributions("deepshap", model, inputs, targets, references, rule, memory)
