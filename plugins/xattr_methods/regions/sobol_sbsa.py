"""Sobol indices of regions."""

from typing import Literal

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, Positive
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Quantity
from xattr_check.statistics.sensitivity import sensitivity_of
from xattr_methods._arguments import in_the_name_of
from xattr_methods.regions._game import Game
from xattr_methods.regions.sbsa import attributed, expect_total


@method(claims=("variance_decomposition",), keeps_rows=True)
def sobol_sbsa(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    index: Literal["total", "first", "second"] = "total",
    regions: str | Tensor = "grid",
    cells: Count | None = None,
    samples: Count = 64,
    gain: Positive = 2.0,
    decide: str | None = None,
    baseline: float | Tensor = 0.0,
    output: Quantity = "logit",
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
    subject: Subject | None = None,
) -> Tensor:
    """Share of the output's variance that a region makes while all regions fade in and out. [sbsa2022]

    Returns (N, 1, H, W), (N, D) or (N, T, 1); a region's index is spread evenly over its features. A share
    has no sign: evidence against the target counts as much as evidence for it.

    index: `total`, S_T, a region's share with all its interactions, `first`, S₁, its share by itself, or
        `second`, Σⱼ S_ij, its share together with one other. Total indices add up to one or more, first-order
        ones to one or less.
    regions: `grid` or `grid:8`, so many cells on a side, `single`, every feature by itself, the subject's
        `mask` and the rest, `superpixels`, `columns`, `tokens`, `channels` or `colour`, as xattr_check has
        them in perturbation/named_regions.py; or int64 ids (*spatial), (1, *spatial) or (N, *spatial). Where
        nothing else is asked for, columns and tokens are regions of their own. Maps of channels, and of
        luminance before chroma, are (N, C, H, W).
    cells: by default 8 on a side of an image, 4 of a volume, 32 runs of a signal.
    samples: N, a power of two, which the paper's 50 is not; with D regions there are N (D + 2) forward passes
        for each input, N (2 D + 2) for `second`, at the same gains for all inputs. The standard error of S₁
        is about √(2 S_T / N), and that of S₁/S_T grows as S_T falls: of 64 regions that share the variance,
        S₁ is noise at this N, while S_T can be ranked.
    gain: each region's gain is uniform between 0, where it is the baseline, and this; at 1 it is as it is.
    decide: `top:5` or `above:0.1`, of total indices: neighbours are one group, halved only where its interval
        lets one of its regions be among those that are asked for, as `sbsa` has it.
    baseline: what a region fades to, a number or broadcastable to inputs.
    output: `logit` or `probability`.

    layout, explained: what a feature of the inputs is, and what the model's outputs mean: by default classes.
    subject: whose the inputs are, for regions that are its own.
    Raises ValueError for parameters that do not fit the inputs.
    """
    game = Game.of(
        "sobol_sbsa", model, inputs, targets, regions, cells, baseline, output, memory, layout,
        explained, subject,
    )  # fmt: skip
    with in_the_name_of("sobol_sbsa"):
        analysis = sensitivity_of("sobol", index, samples, game.count)
        if decide is not None:
            expect_total("sobol", index)
    return attributed("sobol_sbsa", game, analysis, gain, seed, decide)
