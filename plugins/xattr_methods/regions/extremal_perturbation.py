"""Extremal perturbations."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.core.layouts import blurred
from xattr_check.core.method import method
from xattr_check.core.ranges import Count, Part, Positive
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_methods._arguments import expect_above, expect_at_least, expect_images

# The authors' settings for images of 224 × 224 pixels, in proportion to others.
SIDE, STEP, BLUR = 224, 7, 20.0
SPREAD = 3  # sigma of the smooth maximum, in steps
COLDNESS = 20.0
LEVELS = 8
RATE, MOMENTUM = 0.01, 0.9
WEIGHT, GROWTH = 300.0, 1.0035
CACHED = 2**18  # numbers of the smooth maximum that are computed at once


class _SmoothMaximum(torch.autograd.Function):
    """Σ z exp(20 z) / Σ exp(20 z) over the cells around each pixel, with z = weight × cell.

    By rows of the neighbourhood, as many at once as stay in the cache, and with one number kept for each pair
    of a pixel and a neighbour: autograd alone would keep four, and take twice as long.
    """

    @staticmethod
    def _parts(padded: Tensor, weights: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, their weights, and z, (N, rows, columns, h, step, w, step)."""
        size, _, step, _ = weights.shape
        height, width = (side - size + 1 for side in padded.shape[1:])
        cells = padded.unfold(1, height, 1).unfold(2, width, 1)  # (N, rows, columns, h, w)
        each = len(padded) * size * height * width * step**2
        at_once = max(1, CACHED // max(1, each))
        for start in range(0, size, at_once):
            rows = slice(start, min(start + at_once, size))
            weight = weights[rows, :, None, :, None, :]
            yield rows, weight, cells[:, rows, :, :, None, :, None] * weight

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weights: Tensor) -> Tensor:
        kept, norms, totals = [], [], []
        for _, _, terms in _SmoothMaximum._parts(padded, weights):
            powers = (COLDNESS * terms).exp_()
            kept.append(powers)
            norms.append(powers.sum((1, 2)))
            totals.append(terms.mul_(powers).sum((1, 2)))
        norm = sum(norms[1:], norms[0])
        maximum = sum(totals[1:], totals[0]) / norm
        ctx.save_for_backward(padded, weights, maximum, norm, *kept)
        return maximum

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        padded, weights, maximum, norm, *kept = ctx.saved_tensors
        # The derivative by z is exp(20 z) (1 + 20 (z − maximum)) / norm.
        scaled = gradients[0] / norm
        first, second = scaled * (1 - COLDNESS * maximum), COLDNESS * scaled
        found = torch.zeros_like(padded)
        for (rows, weight, terms), powers in zip(_SmoothMaximum._parts(padded, weights), kept, strict=True):
            slopes = terms.mul_(second[:, None, None]).add_(first[:, None, None]).mul_(powers).mul_(weight)
            reached = slice(rows.start, rows.stop + maximum.shape[1] - 1)
            found[:, reached] += functional.fold(
                slopes.sum((4, 6)).flatten(3, 4).flatten(1, 2),
                (reached.stop - reached.start, padded.shape[2]),
                (rows.stop - rows.start, len(weights)),
            )[:, 0]
        return found, None


class SmoothMasks:
    """Masks (N, h, w) from cells (N, rows, columns): the smooth maximum of the cells around each pixel.

    Cells stand `step` pixels apart; a cell's weight is one up to half of sigma from it, and falls as a
    Gaussian beyond. The mask reaches sigma beyond the outer cells, so that none is favoured at the border.
    """

    def __init__(self, spatial: tuple[int, int], step: int, like: Tensor) -> None:
        self.spatial, self.step = spatial, step
        self.shape = tuple(math.ceil(side / step) for side in spatial)
        self.margin = SPREAD * step
        radius = SPREAD + 1
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)[:, None]
        away = torch.arange(step, dtype=torch.float64) - step * offsets  # (neighbours, phases), in pixels
        distance = (away[:, :, None, None] ** 2 + away[None, None] ** 2).sqrt() / self.margin
        weights = torch.exp(-2 * (distance - 0.5).clamp_min(0) ** 2)
        self.weights = weights.transpose(1, 2).to(like)  # (rows, columns, phases, phases)
        # So many cells beyond the border have a pixel of the mask in reach.
        self.padding = SPREAD + radius

    def __call__(self, cells: Tensor) -> Tensor:
        """(N, h, w) in 0…1, differentiable in cells (N, rows, columns) in 0…1; margins included."""
        padded = functional.pad(cells, (self.padding,) * 4)
        found = _SmoothMaximum.apply(padded, self.weights)
        height, width = ((side - 1) * self.step + 2 * self.margin + 1 for side in self.shape)
        masks: Tensor = found.flatten(3, 4).flatten(1, 2)[:, :height, :width]
        return masks

    def inner(self, masks: Tensor) -> Tensor:
        """(N, 1, H, W): masks without their margins."""
        height, width = self.spatial
        start = self.margin
        return masks[:, None, start : start + height, start : start + width]


def pyramid(images: Tensor, blur: float) -> Tensor:
    """(N, levels, C, H, W): images from the most blurred, by so many pixels, to themselves."""
    sigmas = [blur * (1 - level / (LEVELS - 1)) for level in range(LEVELS - 1)]
    return torch.stack([*(blurred(images, sigma) for sigma in sigmas), images], dim=1)


def at_level(levels: Tensor, masks: Tensor) -> Tensor:
    """(N, C, H, W): pixels at the level (N, levels, C, H, W) that their mask (N, 1, H, W) says, linearly."""
    height = masks * (LEVELS - 1)
    lower = height.detach().long().clamp_max(LEVELS - 2)
    index = lower.unsqueeze(2).expand(-1, -1, *levels.shape[2:])
    below, above = levels.gather(1, index).squeeze(1), levels.gather(1, index + 1).squeeze(1)
    return torch.lerp(below, above, height - lower)


@method(needs=("image",))
def extremal_perturbation(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    area: Part = 0.1,
    iterations: Count = 800,
    blur: Positive | None = None,
    flip: bool = False,
    memory: int = MEMORY,
) -> Tensor:
    """Smooth mask of a given area whose inside, the rest blurred, makes the logit largest. [fong2019]

    Returns (N, 1, H, W) in 0…1: what suffices for the target. There is no sign: evidence against it is 0.

    area: share of the image, margins included, that the mask is drawn to ever more strongly (weight
        300 · 1.0035ᵗ), by gradient descent with momentum.
    blur: deviation in pixels of the strongest of eight levels of blur; by default in proportion to the
        authors' 20 for 224 × 224, as the cells of the mask are.
    flip: mirror every second step, as the authors' code does; not for images that mean something else then.

    Raises ValueError for inputs that are not images, and for other parameters.
    """
    expect_images("extremal_perturbation", inputs)
    if not 0 < area < 1:
        raise ValueError(f"extremal_perturbation: expected an area between 0 and 1, came {area}")
    expect_at_least("extremal_perturbation", 1, iterations=iterations)
    side = min(inputs.shape[2:])
    generate = SmoothMasks((inputs.shape[2], inputs.shape[3]), max(1, round(STEP * side / SIDE)), inputs)
    sigma = BLUR * side / SIDE if blur is None else blur
    expect_above("extremal_perturbation", 0, blur=sigma)

    def optimised(images: Tensor, chosen: Tensor) -> Tensor:
        levels = pyramid(images, sigma)
        cells = images.new_ones(len(images), *generate.shape)
        momentum, weight = None, WEIGHT
        for step in range(iterations):
            cells = cells.detach().requires_grad_()
            masks = generate(cells)
            shown = at_level(levels, generate.inner(masks))
            logits = model(shown.flip(3) if flip and step % 2 == 0 else shown)
            # The largest values are drawn to one, as many as make the area, and all others to zero.
            flat = masks.flatten(1)
            order = flat.detach().argsort(dim=1, stable=True)
            wanted = torch.zeros_like(flat).scatter_(1, order[:, int(flat.shape[1] * (1 - area)) :], 1)
            # Each input has a loss of its own; one backward pass serves them all.
            loss = weight * ((flat - wanted) ** 2).mean(1).sum() - logits.gather(1, chosen[:, None]).sum()
            (slopes,) = torch.autograd.grad(loss, cells)
            momentum = slopes if momentum is None else MOMENTUM * momentum + (1 - MOMENTUM) * slopes
            cells = (cells.detach() - RATE * momentum).clamp(0, 1)
            weight *= GROWTH
        return generate.inner(generate(cells)).contiguous()

    return in_chunks(optimised, model, inputs.detach(), targets, memory)
