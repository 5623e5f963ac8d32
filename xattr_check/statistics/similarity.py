"""How alike two maps are."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xattr_check.imports import imported


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """(N,) float64 rank correlation of the rows of first and second (N, P), ties at their mean rank.

    Two constant rows are the same map: 1. A constant row tells nothing about another: 0. Places at which
    either is NaN are left out.
    """
    if bool((first.isnan() | second.isnan()).any()):
        pairs = zip(first, second, ~(first.isnan() | second.isnan()), strict=True)
        return torch.cat([spearman(one[both][None], other[both][None]) for one, other, both in pairs])
    return correlation(ranks(first), ranks(second))


def ranks(values: Tensor) -> Tensor:
    """(N, P) float64 ranks in the rows of values (N, P), from 1 on, ties at the mean of theirs."""
    ordered, order = values.double().sort(1)
    places = torch.arange(1, values.shape[1] + 1, device=values.device).expand(ordered.shape)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = torch.cat([begins[:, 1:], begins[:, :1]], dim=1)  # what is equal ends where the next begins
    first = torch.where(begins, places, 0).cummax(1).values
    last = torch.where(ends, places, values.shape[1]).flip(1).cummin(1).values.flip(1)
    return torch.empty_like(ordered).scatter_(1, order, (first + last).double() / 2)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """(N,) float64 Pearson correlation of the rows of first and second (N, P); constants as in `spearman`."""
    centred = [rows.double() - rows.double().mean(1, keepdim=True) for rows in (first, second)]
    norms = [rows.norm(dim=1) for rows in centred]
    eps = torch.finfo(torch.float64).eps
    constant = [
        norm <= 8 * eps * rows.double().norm(dim=1).clamp_min(1e-300)
        for norm, rows in zip(norms, (first, second), strict=True)
    ]
    value = (centred[0] * centred[1]).sum(1) / (norms[0] * norms[1]).clamp_min(1e-300)
    value = torch.where(constant[0] | constant[1], torch.zeros_like(value), value.clamp(-1, 1))
    return torch.where(constant[0] & constant[1], torch.ones_like(value), value)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """(N,) float64 structural similarity of maps (N, H, W), each scaled to [0, 1] by its own extremes.

    The mean over all whole windows of 7 pixels, or of the largest odd number that fits. [wang2004]
    """
    window = min(7, *first.shape[1:])
    window -= 1 - window % 2

    def mean(values: Tensor) -> Tensor:
        means: Tensor = functional.avg_pool2d(values[:, None], window, stride=1).squeeze(1)
        return means

    one, two = _unit(first), _unit(second)
    pixels = window**2
    sample = pixels / max(1, pixels - 1)  # variances of a sample, as of what the window is a part
    mean_one, mean_two = mean(one), mean(two)
    variances = sample * (mean(one * one) - mean_one**2 + mean(two * two) - mean_two**2)
    covariance = sample * (mean(one * two) - mean_one * mean_two)
    light, contrast = 0.01**2, 0.03**2
    found = (2 * mean_one * mean_two + light) * (2 * covariance + contrast)
    likeness: Tensor = found / ((mean_one**2 + mean_two**2 + light) * (variances + contrast))
    return likeness.flatten(1).mean(1)


def oriented_gradients(maps: Tensor) -> Tensor:
    """(N, B) float64 histograms of oriented gradients of maps (N, H, W), each scaled to [0, 1]. [dalal2005]

    Nine orientations in cells of an eighth of the shorter side, two pixels at least, normalised in blocks of
    two by two.
    """
    hog = imported("skimage.feature", "hog")
    side = min(maps.shape[1:])
    cell = max(1, min(2, side // 2), side // 8)
    block = min(2, side // cell)
    rows = [
        hog(one, orientations=9, pixels_per_cell=(cell, cell), cells_per_block=(block, block))
        for one in _unit(maps).cpu().numpy()
    ]
    return torch.from_numpy(np.stack(rows)).to(maps.device)


def _unit(maps: Tensor) -> Tensor:
    flat = maps.double().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low).clamp_min(1e-300)).reshape(maps.shape)


def unrelated(maps: Tensor, others: Tensor, similarity: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Mean similarity of maps (N, …) to those of other inputs (N, …): what they have in common by chance."""
    if len(maps) < 2:
        return 0.0
    return float(similarity(maps.roll(1, 0), others).mean())


def excess(similarities: Tensor, chance: float) -> Tensor:
    """(N,) similarities above chance: 0 at chance, 1 for equal maps, at least -1.

    Where chance itself is 1, the map ignores its input, and similarities stand as they are.
    """
    if chance > 1 - 1e-6:
        return similarities
    return ((similarities - chance) / (1 - chance)).clamp_min(-1)
