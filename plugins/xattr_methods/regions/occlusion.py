"""Occlusion."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Quantity, outputs_under
from xattr_methods._arguments import expect_at_least, expect_output, laid_out
from xattr_methods.regions._background import Background, averaged, fills_of
from xattr_methods.regions._game import Game


def spans(length: int, size: int, stride: int) -> Tensor:
    """(K, length) bool: True inside each span; they start outside, so that borders are covered alike."""
    starts = torch.arange(stride - size, length, stride)[:, None]
    places = torch.arange(length)
    return (places >= starts) & (places < starts + size)


@dataclass(frozen=True)
class Windows:
    """All windows of an input.

    sides: for each axis of the features (K, length) bool, where the windows are that follow each other there.
    """

    sides: tuple[Tensor, ...]

    @property
    def count(self) -> int:
        """How many windows there are: the product of those along each axis."""
        return math.prod(map(len, self.sides))

    def masks(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(m, *spatial) bool: False inside the windows of those numbers (m,); number 0 hides nothing."""
        number, inside = (columns - 1).clamp_min(0), columns > 0
        places = []
        for side in reversed(self.sides):
            places.append(side[number % len(side)])
            number = number // len(side)
        for axis, place in enumerate(reversed(places)):
            inside = inside[..., None] & place.reshape(len(rows), *[1] * axis, -1)
        return ~inside

    def means(self, values: Tensor) -> Tensor:
        """(N, *spatial): the mean over the windows at each place, of values (N, count) of theirs."""
        found: Tensor = values.unflatten(1, [len(side) for side in self.sides])
        covered = values.new_ones(())
        for axis, side in enumerate(self.sides, start=1):
            found = torch.tensordot(found, side.to(found), ([axis], [0])).movedim(-1, axis)
            covered = covered[..., None] * side.sum(0)
        return found / covered


@method(
    claims=(
        "sensitivity",
        "linearity",
        "implementation_invariance",
        "dead_neurons",
        "scale_covariance",
        "permutation_equivariance",
    ),
    keeps_rows=True,
)
def occlusion(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    window: Count | None = None,
    stride: Count | None = None,
    regions: str | Tensor | None = None,
    cells: Count | None = None,
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
    """Mean drop of the target's logit over the windows that cover a feature. [zeiler2014]

    Returns (N, 1, H, W), (N, D) or (N, T, 1).

    window, stride: in pixels, a quarter and an eighth of the shorter side by default; 1 and 1 for columns and
        tokens, and on signals and volumes windows of about a sixteenth of the input.
    regions: in place of windows, what is removed together: `grid` or `grid:8`, so many cells on a side,
        `single`, every feature by itself, the subject's `mask` and the rest, `superpixels`, `columns`,
        `tokens`, `channels` or `colour`, as xattr_check has them in perturbation/named_regions.py; or int64
        ids (*spatial), (1, *spatial) or (N, *spatial). Maps of channels, and of luminance before chroma, are
        (N, C, H, W).
    baseline: the value inside a window, a number or broadcastable to inputs.
    background: in place of a baseline, inputs (B, *F), or `data`, `backgrounds` of the subject's own: what
        is absent is as in each of them in turn, and outputs are averaged, for B times the forward passes. Or
        `inpainted`: what a small network guesses from the pixels that are there, which learned it from the
        half of the subject's images that has not the one in question.
    seed: of what is drawn as a background.
    output: `logit` or `probability`.

    layout, explained: what a feature of the inputs is, and what the model's outputs mean: by default classes.
    subject: whose the inputs are, for regions that are its own.
    Raises ValueError for parameters that do not fit the inputs.
    """
    axes = laid_out("occlusion", inputs, layout)
    if regions is not None:
        if window is not None or stride is not None:
            raise ValueError("occlusion: expected regions or window and stride, came both")
        game = Game.of(
            "occlusion", model, inputs, targets, regions, cells, baseline, output, memory, layout,
            explained, subject, background=background, backgrounds=backgrounds, seed=seed,
        )  # fmt: skip
        outputs = game.outcomes(torch.cat([torch.ones(1, game.count), 1 - torch.eye(game.count)]).bool())
        return game.lay_out(outputs[:, :1] - outputs[:, 1:])

    if cells is not None:
        raise ValueError(f"occlusion: cells={cells}: expected regions beside it, came none")
    size = axes.window if window is None else window
    step = axes.stride_of(size) if stride is None else stride
    expect_at_least("occlusion", 1, window=size, stride=step)
    if step > size:
        raise ValueError(f"occlusion: expected a stride of at most the window {size}, came {step}")
    expect_output("occlusion", output)
    fills = fills_of("occlusion", inputs, baseline, background, backgrounds, seed, subject)
    windows = Windows(tuple(spans(side, size, step).to(inputs.device) for side in axes.spatial))
    outputs = averaged(
        fills,
        lambda fill: outputs_under(
            model, inputs, targets, fill, windows.masks, 1 + windows.count, output=output, memory=memory,
            layout=axes, explained=explained,
        ),
    )  # fmt: skip
    return axes.maps(windows.means(outputs[:, :1] - outputs[:, 1:]).to(inputs.dtype))
