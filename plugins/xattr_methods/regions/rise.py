"""RISE."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.core.layouts import Beside, Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, Part
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Quantity, outputs_under, shared_masks
from xattr_methods._arguments import expect_at_least, expect_output, laid_out, like_inputs


class SoftMasks:
    """Random masks, made when they are asked for: every share has the expectation `keep`.

    Images, signals and volumes: so many cells on each side that are kept at random, enlarged linearly by one
    cell more than the image has, and cut out at a random place. Columns and tokens are kept or not, each by
    itself.
    """

    def __init__(
        self, inputs: Tensor, layout: Layout, masks: int, cells: int, keep: float, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        smooth, spatial = isinstance(layout, Beside), layout.spatial
        shape = (cells,) * len(spatial) if smooth else spatial
        bits = torch.rand(masks, *shape, generator=generator, dtype=torch.float64) < keep
        self.bits = bits.to(inputs)
        self.windows, self.shifts = [], []
        for side in spatial if smooth else ():
            cell = math.ceil(side / cells)
            # What each cell gives to each pixel, at each of the shifts: (shifts, cells, side).
            enlarged = functional.interpolate(
                torch.eye(cells, dtype=torch.float64)[None], size=(cells + 1) * cell, mode="linear"
            )[0]
            windows = enlarged.unfold(1, side, 1)[:, :cell].transpose(0, 1)
            self.windows.append(windows.to(inputs))
            self.shifts.append(torch.randint(cell, (masks,), generator=generator).to(inputs.device))

    def __getitem__(self, numbers: Tensor) -> Tensor:
        """(m, *spatial): the masks of those numbers (m,)."""
        found = self.bits[numbers]
        for axis, (windows, shifts) in enumerate(zip(self.windows, self.shifts, strict=True), start=1):
            weights = windows[shifts[numbers]]  # (m, cells, side)
            found = torch.einsum("m...c,mcs->m...s", found.movedim(axis, -1), weights).movedim(-1, axis)
        return found


@method(claims=("implementation_invariance", "dead_neurons"), keeps_rows=True)
def rise(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    masks: Count = 2000,
    cells: Count = 7,
    keep: Part = 0.5,
    centred: bool = False,
    baseline: float | Tensor = 0.0,
    output: Quantity = "probability",
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
) -> Tensor:
    """Mean of random masks, weighted by the target's probability under them, over their mean. [petsiuk2018]

    Returns (N, 1, H, W), (N, D) or (N, T, 1): an unbiased estimate of the expected output given that the
    feature is kept (eq. 6 of [petsiuk2018]), which is positive throughout.

    masks: how many, the same for all inputs; cells: on a side of a mask, before it is enlarged; keep: the
        share of cells that are kept.
    centred: minus the expected output, so that the sign tells evidence for the target from evidence against;
        it takes most of the noise away as well.
    baseline: what a mask fades to, a number or broadcastable to inputs.
    output: `probability` as in the paper, or `logit`.

    layout, explained: what a feature of the inputs is, and what the model's outputs mean: by default classes.
    Raises ValueError for parameters that do not fit the inputs.
    """
    axes = laid_out("rise", inputs, layout)
    features = math.prod(axes.spatial)
    expect_at_least("rise", 1, masks=masks, cells=cells)
    if not 0 < keep < 1:
        raise ValueError(f"rise: expected keep between 0 and 1, came {keep}")
    expect_output("rise", output)
    drawn = SoftMasks(inputs, axes, masks, cells, keep, seed)
    fill = like_inputs("rise", inputs, baseline=baseline)
    weighted = torch.zeros(len(inputs), features, dtype=torch.float64, device=inputs.device)
    kept, mean = torch.zeros_like(weighted[:1]), torch.zeros_like(weighted[:, :1])
    # Each mask is made once, however many inputs and chunks of inputs there are.
    at_once = max(1, memory // (32 * features))
    for numbers in torch.arange(masks, device=inputs.device).split(at_once):
        shares = drawn[numbers]
        outputs = outputs_under(
            model, inputs, targets, fill, shared_masks(shares), len(shares), output=output, memory=memory,
            layout=axes, explained=explained,
        )  # fmt: skip
        weights = shares.flatten(1).double()
        weighted += outputs @ weights
        kept += weights.sum(0)
        mean += outputs.sum(1, keepdim=True) / masks
    if centred:
        weighted -= mean * kept
    return axes.maps((weighted / (masks * keep)).to(inputs.dtype))
