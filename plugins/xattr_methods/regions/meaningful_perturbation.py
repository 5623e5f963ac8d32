"""Meaningful perturbations."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.core.layouts import blurred
from xattr_check.core.method import method
from xattr_check.core.outputs import Output, output_of
from xattr_check.core.ranges import Count, NotNegative, Positive
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_check.perturbation.outputs import outputs_under
from xattr_methods._arguments import expect_above, expect_at_least, expect_images

# The authors' settings for images of 224 × 224 pixels; lengths are in proportion to others.
SIDE, CELLS, BLUR, MASK_BLUR, CIRCLE_BLUR, JITTER, RADIUS = 224, 28, 10.0, 5.0, 10.0, 4, 5.0
SUPPRESSED = 0.99
RATE = 0.1


def circles(spatial: tuple[int, int], share: float, like: Tensor) -> Tensor:
    """(K, H, W): soft masks that hide a disk in the centre, from nothing to the whole image."""
    down, across = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in spatial)
    distance = (down[:, None] ** 2 + across**2).sqrt()
    step = RADIUS * share
    radii = step * torch.arange(int(float(distance.max()) / step) + 2, dtype=torch.float64)
    outside = (distance >= radii[:, None, None]).to(like)
    return blurred(outside[:, None], CIRCLE_BLUR * share)[:, 0]


def variation(masks: Tensor) -> Tensor:
    """(N,): Σ ‖∇m‖³ of masks (N, 1, h, w), the total variation with β = 3."""
    down = functional.pad(masks.diff(dim=2), (0, 0, 0, 1))
    across = functional.pad(masks.diff(dim=3), (0, 1))
    return ((down**2 + across**2) ** 1.5).flatten(1).sum(1)


@method(needs=("image",))
def meaningful_perturbation(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    iterations: Count = 300,
    sparsity: NotNegative = 1e-4,
    smoothness: NotNegative = 1e-2,
    blur: Positive | None = None,
    jitter: Count | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    explained: Output | str | None = None,
) -> Tensor:
    """How much the smallest smooth mask that brings the target's probability down blurs a pixel. [fong2017]

    Returns (N, 1, H, W) in 0…1, one where the image is blurred. There is no sign: evidence against is 0.

    sparsity, smoothness: weights of what the mask hides and of its total variation (β = 3), each summed over
        28 × 28 cells.
    blur: deviation in pixels of the blurred image; jitter: how many shifts of the image are tried in either
        direction, one in each step; both in proportion to the authors' 10 and 4 for 224 × 224 by default.
    seed: of the shifts, the same for all inputs.
    explained: what the model's outputs mean, classes by default.

    The mask starts as the smallest disk in the centre that takes away 99 % of what blurring everything does,
    and is optimised by Adam, whose rate falls to nothing so that it settles. Where blurring everything leaves
    the target as it is, nothing is found: choose more blur. Raises ValueError for
    inputs that are not images, and for other parameters.
    """
    expect_images("meaningful_perturbation", inputs)
    shifts = max(1, round(JITTER * min(inputs.shape[2:]) / SIDE)) if jitter is None else jitter
    expect_at_least("meaningful_perturbation", 1, iterations=iterations, jitter=shifts)
    expect_at_least("meaningful_perturbation", 0, sparsity=sparsity, smoothness=smoothness)
    height, width = inputs.shape[2:]
    meant = output_of(explained)
    share = min(height, width) / SIDE
    sigma = BLUR * share if blur is None else blur
    expect_above("meaningful_perturbation", 0, blur=sigma)
    cells = (min(CELLS, height), min(CELLS, width))
    drawn = torch.randint(shifts, (iterations, 2), generator=torch.Generator().manual_seed(seed)).tolist()
    disks = circles((height, width), share, inputs)

    def enlarged(masks: Tensor) -> Tensor:
        large = functional.interpolate(masks, size=(height, width), mode="bilinear", align_corners=False)
        return blurred(large, MASK_BLUR * share)

    def smallest(fill: Tensor) -> Tensor:
        """(N, 1, h, w): the smallest disk for each image that is enough."""
        shown = torch.cat([torch.ones_like(disks[:1]), disks, torch.zeros_like(disks[:1])])
        outputs = outputs_under(
            model, inputs, targets, fill, lambda rows, columns: shown[columns], len(shown),
            output="probability", memory=memory, explained=meant,
        )  # fmt: skip
        whole, nothing = outputs[:, :1], outputs[:, -1:]
        enough = outputs <= nothing + (1 - SUPPRESSED) * (whole - nothing)
        first = enough.int().argmax(1)  # the last one is enough, whatever the model says
        return functional.interpolate(shown[first][:, None], size=cells, mode="area")

    def optimised(images: Tensor, chosen: Tensor, fill: Tensor, masks: Tensor) -> Tensor:
        masks = masks.clone().requires_grad_()
        descent = torch.optim.Adam([masks], lr=RATE)
        # At a constant rate, as in the paper, the cells never settle: Adam's steps keep their length, and
        # rounding alone, which differs with the size of the batch, moves the map by a percent.
        falling = torch.optim.lr_scheduler.LambdaLR(descent, lambda step: (1 - step / iterations) ** 2)
        # The image moves under a mask that stays; what leaves it on one side is repeated on the other.
        margins = (0, shifts - 1, 0, shifts - 1)
        wide, wide_fill = (functional.pad(one, margins, mode="replicate") for one in (images, fill))
        for down, right in drawn:
            window = (..., slice(down, down + height), slice(right, right + width))
            shown = torch.lerp(wide_fill[window], wide[window], enlarged(masks))
            probability = meant.probability(model(shown), chosen)
            hidden = (1 - masks).flatten(1).sum(1)
            # Each input has a loss of its own; one backward pass serves them all.
            loss = (probability + sparsity * hidden + smoothness * variation(masks)).sum()
            (masks.grad,) = torch.autograd.grad(loss, masks)
            descent.step()
            falling.step()
            masks.data.clamp_(0, 1)
        return 1 - enlarged(masks.detach())

    inputs = inputs.detach()
    fill = blurred(inputs, sigma)
    return in_chunks(optimised, model, inputs, targets, memory, fill, smallest(fill))
