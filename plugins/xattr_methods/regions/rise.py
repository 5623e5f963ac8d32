"""RISE."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import Output, outputs_under, shared_masks
from xattr_methods._arguments import expect_at_least, expect_output
from xattr_methods.regions._game import as_maps, fill_of, spatial_of


class SoftMasks:
    """Random masks, made when they are asked for: every share has the expectation `keep`.

    Images: cells × cells that are kept at random, enlarged bilinearly by one cell more than the image has,
    and cut out at a random place. Columns and tokens are kept or not, each by itself.
    """

    def __init__(
        self, inputs: Tensor, spatial: tuple[int, ...], masks: int, cells: int, keep: float, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (cells, cells) if len(spatial) == 2 else spatial
        bits = torch.rand(masks, *shape, generator=generator, dtype=torch.float64) < keep
        self.bits = bits.to(inputs)
        self.windows, self.shifts = [], []
        for side in spatial if len(spatial) == 2 else ():
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
        if not self.windows:
            return self.bits[numbers]
        down, across = (w[s[numbers]] for w, s in zip(self.windows, self.shifts, strict=True))
        return down.mT @ self.bits[numbers] @ across


@method(claims=("implementation_invariance", "dead_neurons"))
def rise(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    masks: int = 2000,
    cells: int = 7,
    keep: float = 0.5,
    centred: bool = False,
    baseline: float | Tensor = 0.0,
    output: Output = "probability",
    seed: int = 0,
    memory: int = MEMORY,
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

    Raises ValueError for parameters that do not fit the inputs.
    """
    spatial = spatial_of("rise", inputs)
    expect_at_least("rise", 1, masks=masks, cells=cells)
    if not 0 < keep < 1:
        raise ValueError(f"rise: expected keep between 0 and 1, came {keep}")
    expect_output("rise", output)
    drawn = SoftMasks(inputs, spatial, masks, cells, keep, seed)
    fill = fill_of(inputs, baseline)
    weighted = torch.zeros(len(inputs), math.prod(spatial), dtype=torch.float64, device=inputs.device)
    kept, mean = torch.zeros_like(weighted[:1]), torch.zeros_like(weighted[:, :1])
    # Each mask is made once, however many inputs and chunks of inputs there are.
    at_once = max(1, memory // (32 * math.prod(spatial)))
    for numbers in torch.arange(masks, device=inputs.device).split(at_once):
        shares = drawn[numbers]
        outputs = outputs_under(
            model, inputs, targets, fill, shared_masks(shares), len(shares), output=output, memory=memory
        )
        weights = shares.flatten(1).double()
        weighted += outputs @ weights
        kept += weights.sum(0)
        mean += outputs.sum(1, keepdim=True) / masks
    if centred:
        weighted -= mean * kept
    return as_maps(weighted / (masks * keep), inputs)
