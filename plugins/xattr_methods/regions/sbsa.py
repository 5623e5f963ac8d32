"""Sample-based semantic analysis: any sensitivity analysis of regions."""

from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen
from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, Partly, Positive
from xattr_check.core.subject import Subject
from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Quantity
from xattr_check.statistics.groups import Decision, decide_by_groups
from xattr_check.statistics.sensitivity import Sensitivity, dependent, sensitivity_of
from xattr_methods._arguments import expect_above, in_the_name_of
from xattr_methods.regions._game import Game


def attributed(
    name: str, game: Game, analysis: Sensitivity, gain: float, seed: int, decide: str | None = None
) -> Tensor:
    """Maps of an index of a game's regions, in the name of a method; the largest gain is given.

    decide: the index is the total one of groups, which are halved until this is known.
    """
    if decide is not None:
        found = _decided(name, game, analysis.samples, gain, seed, decide)
        return game.spread(torch.stack([one.spread for one in found]).to(game.inputs.device))
    expect_above(name, 0, gain=gain)
    with in_the_name_of(name):
        design = gain * analysis.design(game.count, analysis.samples, seed)
    outputs = game.outcomes(design)
    with in_the_name_of(name):
        return game.spread(analysis.analyse(design, outputs, gain, seed))


def expect_total(sensitivity: str, index: str | None) -> None:
    """Raise Declined for an index by which a group bounds none of its regions."""
    if sensitivity != "sobol" or index not in (None, "total"):
        raise Declined(
            "expected index 'total' of sensitivity 'sobol' beside decide, since that of a group is at least "
            f"that of each of its regions, came {index or sensitivity!r}"
        )


def decisions(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    decide: str,
    regions: str | Tensor = "grid",
    cells: int | None = None,
    samples: int = 64,
    gain: float = 2.0,
    baseline: float | Tensor = 0.0,
    output: Quantity = "logit",
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
    subject: Subject | None = None,
) -> list[Decision]:
    """Of each input, the regions that `decide` asks for, by groups; parameters are those of `sbsa`.

    What `sbsa` makes its maps of, with the interval of each group's index, whether the answer is clear, and
    how many forward passes it took, beside those that the design of all regions takes.
    """
    game = Game.of(
        "sbsa", model, inputs, targets, regions, cells, baseline, output, memory, layout,
        explained, subject,
    )  # fmt: skip
    return _decided("sbsa", game, samples, gain, seed, decide)


def _decided(name: str, game: Game, samples: int, gain: float, seed: int, decide: str) -> list[Decision]:
    """The decision on each input of a game, whose groups are its own."""
    expect_above(name, 0, gain=gain)
    order, count = game.regions.nearby().expand(len(game.inputs), -1), game.count
    found = []
    for place, nearby in enumerate(order):
        with in_the_name_of(name), chosen(slice(place, place + 1)):
            outputs = partial(_outcomes, game.only(place), gain)
            found.append(decide_by_groups(outputs, count, samples, seed, decide, nearby))
    return found


def _outcomes(game: Game, gain: float, design: Tensor) -> Tensor:
    """(K,) of a game of one input, on a design (K, count) in 0…1."""
    return game.outcomes(gain * design)[0]


@method(keeps_rows=True)
def sbsa(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    sensitivity: Literal[
        "sobol", "morris", "shapley", "lime", "fast", "rbd_fast", "delta", "pawn", "hdmr"
    ] = "sobol",
    index: str | None = None,
    regions: str | Tensor = "grid",
    cells: Count | None = None,
    samples: Count | None = None,
    gain: Positive = 2.0,
    correlation: Partly = 0.0,
    decide: str | None = None,
    baseline: float | Tensor = 0.0,
    output: Quantity = "logit",
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
    subject: Subject | None = None,
) -> Tensor:
    """What a sensitivity analysis says of regions whose gains are sampled. [sbsa2022]

    Returns (N, 1, H, W), (N, D) or (N, T, 1); a region's index is spread evenly over its features. The maps
    G, H and R of the paper are a region's place, its contrast to where it is absent, and a gain of that.

    sensitivity, index, and how many forward passes each input takes with D regions and N samples:
        `sobol`: `total` or `first`, shares of a variance, N (D + 2), or `second`, what a region makes
        together with one other, N (2 D + 2). [saltelli2010]
        `morris`: `magnitude`, `mean` or `deviation` of elementary effects, N (D + 1). [morris1991]
        `shapley`: `value`, the mean change of the output when a region that was absent joins the others, all
        at gains that are drawn, N (D + 1) [strumbelj2010]; or `effect`, shares of a variance that add up to
        one, N (D + 1) [goda2021], of gains that are correlated 3 N D [song2016].
        `lime`: `coefficient` of a ridge regression of the output on the gains, N [ribeiro2016]; those of 64
        regions of a network are ranked by noise as much as by the output unless N is some thousands.
        `fast`: `total` or `first`, shares of a variance by its spectrum, N D. [saltelli1999]
        `rbd_fast`: `first`, the same from any sample, N. [tarantola2006]
        `delta`: `delta`, the mean shift of the output's density, N, slow. [borgonovo2007]
        `pawn`: `median`, `mean` or `maximum` shift of its distribution, N. [pianosi2015]
        `hdmr`: `total` or `first`, shares of a variance by a regression, N; the total ones of 64 regions take
        seconds for each input. [li2010]
        Of the index, the first named is taken by default. Signs are those of evidence for the `mean`, the
        `value` and the `coefficient`; the others have none.
    regions: `grid` or `grid:8`, so many cells on a side, `single`, every feature by itself, the subject's
        `mask` and the rest, `superpixels`, `columns`, `tokens`, `channels` or `colour`, as xattr_check has
        them in perturbation/named_regions.py; or int64 ids (*spatial), (1, *spatial) or (N, *spatial). Where
        nothing else is asked for, columns and tokens are regions of their own. Maps of channels, and of
        luminance before chroma, are (N, C, H, W).
    cells: by default 8 on a side of an image, 4 of a volume, 32 runs of a signal.
    samples: N, by default 64, 16, 32, 1000, 129, and 1024 of the others, in the order above, and 64 for an
        `effect`; for `sobol` a power of two, for a `value` even, and as many at least as the analysis needs.
        The gains are the same for all inputs.
    gain: each region's gain is between 0, where it is the baseline, and this; at 1 it is as it is.
    correlation: of the gains of regions side by side, below 1, by a Gaussian copula in which it falls with
        the distance; for an `effect`, which alone has a meaning then.
    decide: `top:5`, the five regions with the largest S_T, or `above:0.1`, those whose share is larger; for
        `sobol`. Neighbours are one group, whose index is spread over them, and a group is halved where its
        interval (95 %) lets one of its regions be among those: few forward passes where few regions count,
        N (D + 1) where all count alike. Regions that are told apart have an index from N samples as they
        have without it, of other rows; `decisions` of this module has intervals and what it took.
    baseline: what a region fades to, a number or broadcastable to inputs.
    output: `logit` or `probability`.

    The analyses from `fast` on are SALib's, of one input at a time; `sobol`, `morris` and effects of gains
    drawn alone have its numbers, and are of all inputs at once. Where the output is linear in the gains, the
    coefficient and the value of a region are what it adds to the output, and its Sobol index is in proportion
    to the square of that.
    layout, explained: what a feature of the inputs is, and what the model's outputs mean: by default classes.
    subject: whose the inputs are, for regions that are its own.
    Raises ValueError for parameters that do not fit the inputs or each other.
    """
    if not 0 <= correlation < 1:
        raise ValueError(f"sbsa: expected correlation of at least 0 and below 1, came {correlation:g}")
    game = Game.of(
        "sbsa", model, inputs, targets, regions, cells, baseline, output, memory, layout,
        explained, subject,
    )  # fmt: skip
    with in_the_name_of("sbsa"):
        analysis = sensitivity_of(sensitivity, index, samples, game.count)
        if decide is not None:
            expect_total(sensitivity, index)
        if correlation:
            if (sensitivity, index) != ("shapley", "effect"):
                raise ValueError(
                    "expected index 'effect' of sensitivity 'shapley' for gains that are correlated, "
                    f"came sensitivity {sensitivity!r}"
                )
            analysis = replace(dependent(game.correlation(correlation)), samples=analysis.samples)
    return attributed("sbsa", game, analysis, gain, seed, decide)
