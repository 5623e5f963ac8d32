"""Kernel SHAP."""

import math

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Quantity
from xattr_methods._arguments import expect_at_least
from xattr_methods.regions._background import Background
from xattr_methods.regions._game import Game


def size_weights(count: int) -> Tensor:
    """(count // 2,) float64: the kernel's share of coalitions of 1, 2, … players and their complements."""
    sizes = torch.arange(1, count // 2 + 1, dtype=torch.float64)
    weights = torch.where(2 * sizes == count, 1.0, 2.0) / (sizes * (count - sizes))
    return weights / weights.sum()


def kernel_coalitions(count: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coalitions (K, count) bool and their weights (K,) float64, which add up to one.

    From the smallest and the largest on, all coalitions of a size are taken, while the kernel would draw at
    least as many of them; the others are drawn from the kernel, each together with its complement. Where
    samples are as many as there are coalitions, that is all of them, each with the kernel's own weight.
    """
    shares = size_weights(count)
    coalitions, weights = [torch.zeros(0, count, dtype=torch.bool)], [torch.zeros(0, dtype=torch.float64)]
    left, size = samples, 1
    while size <= count // 2:
        number = math.comb(count, size) * (1 if 2 * size == count else 2)
        share = float(shares[size - 1] / shares[size - 1 :].sum())
        if number > left * share * (1 + 1e-9):  # the last share is one up to rounding
            break
        members = torch.combinations(torch.arange(count), size)
        some = torch.zeros(len(members), count, dtype=torch.bool).scatter_(1, members, True)
        coalitions.append(some if 2 * size == count else torch.cat([some, ~some]))
        weights.append((shares[size - 1] / number).expand(number))
        left, size = left - number, size + 1
    if size <= count // 2:
        pairs = max(1, left // 2)
        drawn = torch.multinomial(shares[size - 1 :], pairs, replacement=True, generator=generator) + size
        order = torch.rand(pairs, count, generator=generator, dtype=torch.float64).argsort(1)
        some = order < drawn[:, None]
        coalitions.append(torch.cat([some, ~some]))
        weights.append((shares[size - 1 :].sum() / (2 * pairs)).expand(2 * pairs))
    return torch.cat(coalitions), torch.cat(weights)


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
def kernel_shap(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    regions: str | Tensor = "grid",
    cells: Count | None = None,
    samples: Count = 2048,
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
    """Shapley values as the weighted linear fit to the outputs of coalitions of regions. [lundberg2017]

    Returns (N, 1, H, W), (N, D) or (N, T, 1); a region's value is spread evenly over its features.

    regions: `grid` or `grid:8`, so many cells on a side, `single`, every feature by itself, the subject's
        `mask` and the rest, `superpixels`, `columns`, `tokens`, `channels` or `colour`, as xattr_check has
        them in perturbation/named_regions.py; or int64 ids (*spatial), (1, *spatial) or (N, *spatial). Where
        nothing else is asked for, columns and tokens are regions of their own. Maps of channels, and of
        luminance before chroma, are (N, C, H, W).
    cells: by default 8 on a side of an image, 4 of a volume, 32 runs of a signal.
    samples: coalitions, besides the empty and the full one; the same for all inputs. Where they are all
        there are, the values are exact; else a draw's bias is of the order of 1 / samples, and complementary
        pairs cancel much of its noise [covert2021].
    baseline: what stands for an absent region, a number or broadcastable to inputs.
    background: in place of a baseline, inputs (B, *F), or `data`, `backgrounds` of the subject's own: what
        is absent is as in each of them in turn, and outputs are averaged, for B times the forward passes. Or
        `inpainted`: what a small network guesses from the pixels that are there, which learned it from the
        half of the subject's images that has not the one in question.
    output: `logit` or `probability`.

    Completeness (local accuracy, Prop. 1 of [lundberg2017]) is a constraint of the fit, and exact.
    layout, explained: what a feature of the inputs is, and what the model's outputs mean: by default classes.
    subject: whose the inputs are, for regions that are its own.
    Raises ValueError for parameters that do not fit the inputs, and for samples too few for the regions.
    """
    game = Game.of(
        "kernel_shap", model, inputs, targets, regions, cells, baseline, output, memory, layout,
        explained, subject, background=background, backgrounds=backgrounds, seed=seed,
    )  # fmt: skip
    count = game.count
    expect_at_least("kernel_shap", min(4 * count, 2**count - 2), samples=samples)
    generator = torch.Generator().manual_seed(seed)
    coalitions, weights = kernel_coalitions(count, samples, generator)
    ends = torch.stack([torch.zeros(count), torch.ones(count)]).bool()
    values = game.outcomes(torch.cat([ends, coalitions]))
    empty, full = values[:, 0], values[:, 1]
    design, weights = coalitions.to(values), weights.to(values.device)
    # The normal equations, bordered by the constraint that the values add up to full − empty.
    system = values.new_ones(count + 1, count + 1)
    system[:count, :count] = design.T @ (weights[:, None] * design)
    system[count, count] = 0
    if int(torch.linalg.matrix_rank(system, hermitian=True)) <= count:
        raise ValueError(
            f"kernel_shap: the {len(coalitions)} coalitions drawn do not tell the {count} regions apart; "
            "take more samples, or another seed"
        )
    right = torch.cat([(values[:, 2:] - empty[:, None]) * weights @ design, (full - empty)[:, None]], dim=1)
    return game.spread(torch.linalg.solve(system, right.T).T[:, :count])
