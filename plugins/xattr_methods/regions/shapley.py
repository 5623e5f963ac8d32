"""Shapley values."""

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, Whole
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Quantity
from xattr_check.statistics.coalitions import shapley_weights, subsets
from xattr_methods._arguments import expect_at_least
from xattr_methods.regions._background import Background
from xattr_methods.regions._game import Game


def arrivals(count: int, permutations: int, antithetic: bool, generator: torch.Generator) -> Tensor:
    """(permutations, count) int64: when each player joins; antithetic, every second order is reversed."""
    drawn = (permutations + 1) // 2 if antithetic else permutations
    ranks = torch.rand(drawn, count, generator=generator, dtype=torch.float64).argsort(1)
    if antithetic:
        ranks = torch.stack([ranks, count - 1 - ranks], dim=1).flatten(0, 1)
    return ranks[:permutations]


@method(
    claims=(
        "completeness",
        "sensitivity",
        "linearity",
        "implementation_invariance",
        "dead_neurons",
        "scale_covariance",
    ),
    keeps_rows=True,
)
def shapley(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    regions: str | Tensor = "grid",
    cells: Count | None = None,
    permutations: Count = 32,
    antithetic: bool = True,
    exact: Whole = 12,
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
    """Mean gain of the target's output when a region joins the others in random order. [strumbelj2010]

    Returns (N, 1, H, W), (N, D) or (N, T, 1); a region's value is spread evenly over its features.

    regions: `grid` or `grid:8`, so many cells on a side, `single`, every feature by itself, the subject's
        `mask` and the rest, `superpixels`, `columns`, `tokens`, `channels` or `colour`, as xattr_check has
        them in perturbation/named_regions.py; or int64 ids (*spatial), (1, *spatial) or (N, *spatial). Where
        nothing else is asked for, columns and tokens are regions of their own. Maps of channels, and of
        luminance before chroma, are (N, C, H, W).
    cells: by default 8 on a side of an image, 4 of a volume, 32 runs of a signal.
    exact: up to so many regions all coalitions are evaluated, and the values are exact [shapley1953].
    permutations: orders that are drawn where there are more, the same for all inputs; antithetic: every
        second one is the reverse of the one before it, which cancels much of the noise [mitchell2022].
    baseline: what stands for an absent region, a number or broadcastable to inputs.
    background: in place of a baseline, inputs (B, *F), or `data`, `backgrounds` of the subject's own: what
        is absent is as in each of them in turn, and outputs are averaged, for B times the forward passes. Or
        `inpainted`: what a small network guesses from the pixels that are there, which learned it from the
        half of the subject's images that has not the one in question.
    output: `logit` or `probability`.

    Completeness is the efficiency of [shapley1953]; it holds in every order, and so with few of them.
    layout, explained: what a feature of the inputs is, and what the model's outputs mean: by default classes.
    subject: whose the inputs are, for regions that are its own.
    Raises ValueError for parameters that do not fit the inputs.
    """
    expect_at_least("shapley", 1, permutations=permutations)
    expect_at_least("shapley", 0, exact=exact)
    game = Game.of(
        "shapley", model, inputs, targets, regions, cells, baseline, output, memory, layout,
        explained, subject, background=background, backgrounds=backgrounds, seed=seed,
    )  # fmt: skip
    count = game.count
    if count <= exact:
        coalitions = subsets(count)
        values = game.outcomes(coalitions)
        return game.spread(values @ shapley_weights(coalitions).to(values.device))
    ranks = arrivals(count, permutations, antithetic, torch.Generator().manual_seed(seed))
    values = game.outcomes((ranks[:, None] < torch.arange(count + 1)[:, None]).flatten(0, 1))
    gains = values.reshape(len(inputs), permutations, count + 1).diff(dim=2)
    return game.spread(gains.gather(2, ranks.to(gains.device).expand_as(gains)).mean(1))
