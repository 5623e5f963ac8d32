"""Expected gradients."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import Count
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY, gradients_at
from xattr_methods._arguments import expect_at_least
from xattr_methods.gradients.integrated_gradients import column


def backgrounds(
    inputs: Tensor,
    samples: int,
    background: Tensor | None,
    subject: Subject | None,
    generator: torch.Generator,
) -> Tensor:
    """Baselines (samples, *F): rows of the background, each equally often, or what absence looks like."""
    if background is not None:
        if background.shape[1:] != inputs.shape[1:] or not len(background):
            raise ValueError(
                f"expected_gradients: expected a background (B, {', '.join(map(str, inputs.shape[1:]))}) "
                f"with B ≥ 1, came {tuple(background.shape)}"
            )
        rounds = -(-samples // len(background))
        rows = torch.cat([torch.randperm(len(background), generator=generator) for _ in range(rounds)])
        return background[rows[:samples].to(background.device)].to(inputs)
    if subject is not None and subject.reference is not None:
        return subject.reference(samples, generator).to(inputs)
    return torch.randn(samples, *inputs.shape[1:], generator=generator, dtype=torch.float64).to(inputs)


@method(
    claims=("dummy", "linearity", "implementation_invariance", "dead_neurons", "scale_covariance"),
    needs=("reference",),
    keeps_rows=True,
)
def expected_gradients(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    background: Tensor | None = None,
    samples: Count = 50,
    seed: int = 0,
    memory: int = MEMORY,
    subject: Subject | None = None,
) -> Tensor:
    """Integrated gradients averaged over the baselines of a background, by sampling, (N, *F). [erion2021]

    background: (B, *F), the inputs to start from; each is used equally often. By default a draw from the
    subject's reference, which is what absence looks like there; without one, standard normal noise, which
    is what normalised inputs are around. Never the rest of the batch: maps must not depend on it.
    samples: gradients taken, each at a random place between the input and one baseline. Both are drawn by
    `seed`, and the same for every input. memory: bytes of one chunk.
    Its expectation sums to f(x) less the mean output on the background; a sample does so up to its error.
    Raises ValueError for a background of another shape, and for no samples.
    """
    expect_at_least("expected_gradients", 1, samples=samples)
    generator = torch.Generator().manual_seed(seed)
    # One place in each of as many equal parts of the line: as uniform, and with less variance.
    places = torch.randperm(samples, generator=generator).double()
    places += torch.rand(samples, generator=generator, dtype=torch.float64)
    nodes = column(places / samples, inputs)
    baselines = backgrounds(inputs, samples, background, subject, generator).unsqueeze(1)

    def points(rows: slice, numbers: slice) -> Tensor:
        return torch.lerp(baselines[numbers], inputs[rows], nodes[numbers])

    total = torch.zeros_like(inputs)
    for rows, numbers, gradients in gradients_at(model, inputs, targets, points, samples, memory):
        total[rows] += ((inputs[rows] - baselines[numbers]) * gradients).sum(0)
    return total / samples
