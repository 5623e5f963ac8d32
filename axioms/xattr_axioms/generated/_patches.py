"""Generated features: which pixels, or times or columns, are whose, and how much of a map falls on them."""

import torch
from torch import Tensor

from xattr_check.core import Draw, Subject

# So many samples of a draw are kept for pictures.
PICTURES = 4


def feature_masks(subject: Subject, draw: Draw) -> Tensor:
    """(n, k, P) bool: what of an input each generated feature covers, that of `mask_a` first."""
    return torch.stack([draw.truth(name).flatten(1) for name in _names(subject)], dim=1)


def amounts(scores: Tensor, masks: Tensor) -> Tensor:
    """(n, k) float64: Σ S over the pixels of each feature, for S (n, P) and masks (n, k, P).

    With their signs, since a feature is certified as a whole, and its pixels are not: those of one that never
    changes the output do change it without each other, and a right method says so.
    """
    return (scores[:, None] * masks).sum(2)


def magnitudes(subject: Subject, scores: Tensor, masks: Tensor) -> Tensor:
    """(n, k, Q) ≥ 0: what scores (n, P) have on each feature, of masks (n, k, P).

    On images |S| of each pixel, as in [khakzar2022]; elsewhere |Σ S| over a feature, Q = 1. What is certified
    is what a feature does as a whole: each of its times or columns may do something, and they cancel.
    """
    on = scores[:, None] * masks
    return on.abs() if subject.is_image else on.sum(2, keepdim=True).abs()


def overlap(on_a: Tensor, on_b: Tensor) -> Tensor:
    """(n,) Eq. 9 of maps (n, 2 P) ≥ 0 for class a and for b, first on the feature of a, then on that of b.

    P is the number of pixels of a feature, or 1 for what there is on it as a whole.

    1, where neither class has anything on its own feature.
    """
    own = on_a.chunk(2, 1)[0].sum(1) + on_b.chunk(2, 1)[1].sum(1)
    return torch.where(own == 0, 1.0, torch.minimum(on_a, on_b).sum(1) / own)


def shares_of(found: Tensor) -> Tensor:
    """Amounts (n, m) ≥ 0 as shares of their total, zeros where that is zero."""
    total = found.sum(1, keepdim=True)
    return found / torch.where(total == 0, 1.0, total)


def pictures(subject: Subject, draw: Draw, map_a: Tensor, map_b: Tensor | None = None) -> dict[str, Tensor]:
    """Evidence of the first samples: inputs, the features' masks, and scores (n, P) for each target.

    Scores beyond those samples are not needed. Nothing where inputs are no images.
    """
    if not subject.is_image:
        return {}
    rows = {"composite": draw.inputs, "target_a": draw.targets, "map_a": map_a.unflatten(1, subject.spatial)}
    # Where there is no other target, all features make the same one.
    rows["target_b"] = draw.truth("other_target") if "other_target" in subject.truth else draw.targets
    if map_b is not None:
        rows["map_b"] = map_b.unflatten(1, subject.spatial)
    rows |= {name: draw.truth(name) for name in _names(subject)}
    return {name: tensor[:PICTURES] for name, tensor in rows.items()}


def zeros_told(zero: Tensor, consequence: str) -> str:
    """The finding where maps are zero on the features of some samples, (n,) bool; else an empty string."""
    count = int(zero.sum())
    return f"zero on the features of {count} of {len(zero)} samples, {consequence}" if count else ""


def _names(subject: Subject) -> list[str]:
    return sorted(name for name in subject.truth if name.startswith("mask_"))
