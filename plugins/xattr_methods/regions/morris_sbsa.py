"""Morris screening of regions."""

from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, Positive
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Quantity
from xattr_check.statistics.sensitivity import sensitivity_of, trajectories_of
from xattr_methods._arguments import in_the_name_of
from xattr_methods.regions._game import Game
from xattr_methods.regions.sbsa import attributed


@method(keeps_rows=True)
def morris_sbsa(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    statistic: Literal["magnitude", "mean", "deviation"] = "magnitude",
    regions: str | Tensor = "grid",
    cells: Count | None = None,
    samples: Count = 16,
    levels: int = 4,
    gain: Positive = 2.0,
    baseline: float | Tensor = 0.0,
    output: Quantity = "logit",
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
    subject: Subject | None = None,
) -> Tensor:
    """Mean elementary effect of a region's gain while the others have gains of any size. [mosip2021]

    Returns (N, 1, H, W), (N, D) or (N, T, 1); a region's effect is spread evenly over its features.

    statistic: `magnitude`, μ*, which has no sign; `mean`, μ, positive where more of the region makes more of
        the target; or `deviation`, σ, how much the effect depends on the other regions and on the gain.
    regions: `grid` or `grid:8`, so many cells on a side, `single`, every feature by itself, the subject's
        `mask` and the rest, `superpixels`, `columns`, `tokens`, `channels` or `colour`, as xattr_check has
        them in perturbation/named_regions.py; or int64 ids (*spatial), (1, *spatial) or (N, *spatial). Where
        nothing else is asked for, columns and tokens are regions of their own. Maps of channels, and of
        luminance before chroma, are (N, C, H, W).
    cells: by default 8 on a side of an image, 4 of a volume, 32 runs of a signal.
    samples: trajectories, N; with D regions there are N (D + 1) forward passes for each input, at the same
        gains for all inputs. levels: of the grid of gains, even.
    gain: the largest one; at 0 a region is the baseline, at 1 as it is. An effect is the change of the output
        for a change of the gain by 1.
    baseline: what a region fades to, a number or broadcastable to inputs.
    output: `logit` or `probability`.

    layout, explained: what a feature of the inputs is, and what the model's outputs mean: by default classes.
    subject: whose the inputs are, for regions that are its own.
    Raises ValueError for parameters that do not fit the inputs.
    """
    if statistic not in ("magnitude", "mean", "deviation"):
        raise ValueError(
            f"morris_sbsa: expected statistic 'magnitude', 'mean' or 'deviation', came {statistic!r}"
        )
    game = Game.of(
        "morris_sbsa", model, inputs, targets, regions, cells, baseline, output, memory, layout,
        explained, subject,
    )  # fmt: skip
    with in_the_name_of("morris_sbsa"):
        analysis = sensitivity_of("morris", statistic, samples, game.count)
    return attributed("morris_sbsa", game, replace(analysis, design=trajectories_of(levels)), gain, seed)
