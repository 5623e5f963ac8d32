"""Occlusion."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.core.axes import layout_of
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Output, outputs_under
from xattr_methods._arguments import expect_at_least, expect_output
from xattr_methods.regions._game import Game, as_maps, fill_of, spatial_of


def spans(length: int, size: int, stride: int) -> Tensor:
    """(K, length) bool: True inside each span; they start outside, so that borders are covered alike."""
    starts = torch.arange(stride - size, length, stride)[:, None]
    places = torch.arange(length)
    return (places >= starts) & (places < starts + size)


@dataclass(frozen=True)
class Windows:
    """All windows of an image.

    down: (K, height) bool and across: (L, width) bool, where the window of a row and of a column of them is.
    """

    spatial: tuple[int, ...]
    down: Tensor
    across: Tensor

    @property
    def count(self) -> int:
        """How many windows there are, K · L."""
        return len(self.down) * len(self.across)

    def masks(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(m, *spatial) bool: False inside the windows of those numbers (m,); number 0 hides nothing."""
        number = (columns - 1).clamp_min(0)
        row, column = number // len(self.across), number % len(self.across)
        inside = self.down[row, :, None] & self.across[column, None, :] & (columns > 0)[:, None, None]
        return ~inside.reshape(len(rows), *self.spatial)

    def means(self, values: Tensor) -> Tensor:
        """(N, height, width): the mean over the windows at each place, of values (N, K · L) of theirs."""
        each = values.unflatten(1, (len(self.down), len(self.across)))
        total: Tensor = self.down.to(each).T @ each @ self.across.to(each)
        return total / (self.down.sum(0)[:, None] * self.across.sum(0))


@method(claims=("sensitivity", "linearity", "implementation_invariance", "dead_neurons"))
def occlusion(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    window: int | None = None,
    stride: int | None = None,
    regions: str | Tensor | None = None,
    cells: int = 8,
    baseline: float | Tensor = 0.0,
    output: Output = "logit",
    memory: int = MEMORY,
) -> Tensor:
    """Mean drop of the target's logit over the windows that cover a feature. [zeiler2014]

    Returns (N, 1, H, W), (N, D) or (N, T, 1).

    window, stride: in pixels, a quarter and an eighth of the shorter side by default; 1 and 1 for columns.
    regions: in place of windows, what is removed together: `grid`, cells × cells on an image, or `single`,
        every feature by itself; or int64 ids (*spatial), (1, *spatial) or (N, *spatial).
    baseline: the value inside a window, a number or broadcastable to inputs.
    output: `logit` or `probability`.

    Raises ValueError for parameters that do not fit the inputs.
    """
    spatial = spatial_of("occlusion", inputs)
    if regions is not None:
        if window is not None or stride is not None:
            raise ValueError("occlusion: expected regions or window and stride, came both")
        game = Game.of("occlusion", model, inputs, targets, regions, cells, baseline, output, memory)
        outputs = game.outcomes(torch.cat([torch.ones(1, game.count), 1 - torch.eye(game.count)]).bool())
        return game.lay_out(outputs[:, :1] - outputs[:, 1:])

    is_image = layout_of(inputs).is_image
    size = (max(1, min(spatial) // 4) if is_image else 1) if window is None else window
    step = (max(1, size // 2) if is_image else 1) if stride is None else stride
    expect_at_least("occlusion", 1, window=size, stride=step)
    if step > size:
        raise ValueError(f"occlusion: expected a stride of at most the window {size}, came {step}")
    expect_output("occlusion", output)
    # Columns and tokens are an image of one column.
    across = spans(spatial[1], size, step) if len(spatial) == 2 else torch.ones(1, 1, dtype=torch.bool)
    windows = Windows(spatial, spans(spatial[0], size, step).to(inputs.device), across.to(inputs.device))
    outputs = outputs_under(
        model, inputs, targets, fill_of(inputs, baseline), windows.masks, 1 + windows.count,
        output=output, memory=memory,
    )  # fmt: skip
    return as_maps(windows.means(outputs[:, :1] - outputs[:, 1:]), inputs)
