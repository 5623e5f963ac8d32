"""LIME."""

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, NotNegative, Positive, Several
from xattr_check.core.subject import Subject
from xattr_check.imports import imported
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Quantity
from xattr_methods._arguments import expect_above, expect_at_least, expect_counts
from xattr_methods.regions._background import Background
from xattr_methods.regions._game import Game


def proximity(present: Tensor, width: float) -> Tensor:
    """(K,) weights of samples (K, R) float64: exp(−D² / 2 width²), D the cosine distance to all present."""
    distance = 1 - (present.sum(1) / present.shape[1]).sqrt()
    return torch.exp(-(distance**2) / (2 * width**2))


def lasso_path(system: Tensor, right: Tensor, most: int) -> Tensor:
    """(K,) int64 places that are not 0 at the last step of the Lasso's path with no more than so many.

    By least angles. system: (R, R), the weighted products of the centred columns; right: (R,), theirs with
    the outputs. [efron2004]
    """
    path = imported("sklearn.linear_model", "lars_path_gram")
    given = {"Xy": right.cpu().numpy(), "Gram": system.cpu().numpy(), "n_samples": 1, "method": "lasso"}
    steps = torch.from_numpy(path(**given)[2].T)
    few = steps[(steps != 0).sum(1) <= most]
    return few[-1].nonzero().flatten().to(system.device)


@method(
    claims=("linearity", "implementation_invariance", "dead_neurons", "scale_covariance"),
    keeps_rows=True,
)
def lime(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    regions: str | Tensor = "grid",
    cells: Count | None = None,
    samples: Several = 1000,
    width: Positive = 0.25,
    penalty: NotNegative = 1.0,
    features: Count | None = None,
    baseline: float | Tensor = 0.0,
    background: Background | None = None,
    backgrounds: Count = 16,
    output: Quantity = "logit",
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
    subject: Subject | None = None,
) -> Tensor:
    """Coefficients of a ridge regression of the target's output on which regions are present. [ribeiro2016]

    Returns (N, 1, H, W), (N, D) or (N, T, 1); a region's coefficient is spread evenly over its features. The
    explanation of the paper is sparse: `features=K` of them are selected first. By default none is left out.

    regions: `grid` or `grid:8`, so many cells on a side, `single`, every feature by itself, the subject's
        `mask` and the rest, `superpixels`, `columns`, `tokens`, `channels` or `colour`, as xattr_check has
        them in perturbation/named_regions.py; or int64 ids (*spatial), (1, *spatial) or (N, *spatial). Where
        nothing else is asked for, columns and tokens are regions of their own. Maps of channels, and of
        luminance before chroma, are (N, C, H, W).
    cells: by default 8 on a side of an image, 4 of a volume, 32 runs of a signal.
    samples: the input, and variants in which each region is present with probability ½; the same for all
        inputs. width: of the exponential kernel on the cosine distance, exp(−D² / 2 width²), which weights
        them, as in the authors' code; the σ of the paper's exp(−D² / σ²) is √2 times that.
    penalty: of the squared coefficients; the intercept is free.
    features: K, how many regions have a coefficient, for each input its own, the others 0: those of the last
        step of the Lasso's regularisation path that has no more, K-Lasso of the paper's Algorithm 1.
    baseline: what stands for an absent region, a number or broadcastable to inputs.
    background: in place of a baseline, inputs (B, *F), or `data`, `backgrounds` of the subject's own: what
        is absent is as in each of them in turn, and outputs are averaged, for B times the forward passes. Or
        `inpainted`: what a small network guesses from the pixels that are there, which learned it from the
        half of the subject's images that has not the one in question.
    output: `logit`, or `probability` as in the paper, where other classes come in.

    layout, explained: what a feature of the inputs is, and what the model's outputs mean: by default classes.
    subject: whose the inputs are, for regions that are its own.
    Raises ValueError for parameters that do not fit the inputs.
    """
    expect_at_least("lime", 2, samples=samples)
    expect_at_least("lime", 0, penalty=penalty)
    expect_above("lime", 0, width=width)
    if features is not None:
        expect_counts("lime", features=features)
    game = Game.of(
        "lime", model, inputs, targets, regions, cells, baseline, output, memory, layout,
        explained, subject, background=background, backgrounds=backgrounds, seed=seed,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(samples, game.count, generator=generator, dtype=torch.float64) < 0.5
    present[0] = True
    values = game.outcomes(present)
    design = present.to(values)
    weights = proximity(design, width)
    design = design - weights @ design / weights.sum()  # centred, so that the intercept takes no part
    system = design.T @ (weights[:, None] * design)
    right = design.T @ (weights[:, None] * values.T)
    if features is None or features >= game.count:
        system.diagonal().add_(penalty)
        return game.spread(torch.linalg.solve(system, right).T)
    found = torch.zeros_like(right)
    for row, one in enumerate(right.T):
        chosen = lasso_path(system, one, features)
        some = system[chosen[:, None], chosen]
        some.diagonal().add_(penalty)
        found[chosen, row] = torch.linalg.solve(some, one[chosen])
    return game.spread(found.T)
