"""How few of the numbers of a row hold how much of their sum."""

import torch
from torch import Tensor


def half_shares(amounts: Tensor, valid: Tensor | None = None) -> Tensor:
    """(N,) float64 in 0…½: what share of amounts (N, P) ≥ 0 in a row holds half of their sum.

    The largest come first, and of the last one as much counts as is needed. Where all are 0, they are all the
    same: ½. valid: (N, P) bool, places that count; the others hold nothing.
    """
    ordered, count = _descending(amounts, valid)
    before = ordered.cumsum(1) - ordered
    missing = ordered.sum(1, keepdim=True) / 2 - before
    parts = (missing / ordered.clamp_min(1e-300)).clamp(0, 1)
    return torch.where(ordered[:, 0] > 0, parts.sum(1) / count, 0.5)


def gini(amounts: Tensor, valid: Tensor | None = None) -> Tensor:
    """(N,) float64: 0 where amounts (N, P) ≥ 0 in a row are all the same, 1 − 1/P where all but one are 0.

    1 − 2 Σₖ x₍ₖ₎ (P − k + ½) / (P Σ x), x₍ₖ₎ the k-th smallest. [hurley2009] valid: as in `half_shares`.
    """
    ordered, count = _descending(amounts, valid)
    places = torch.arange(1, ordered.shape[1] + 1, device=ordered.device) - 0.5
    found = 1 - 2 * (ordered * places).sum(1) / (count * ordered.sum(1).clamp_min(1e-300))
    return torch.where(ordered[:, 0] > 0, found, 0.0)


def _descending(amounts: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Amounts from the largest to the smallest of each row, in float64, and how many count."""
    kept = torch.ones_like(amounts, dtype=torch.bool) if valid is None else valid
    return amounts.double().where(kept, 0.0).sort(1, descending=True).values, kept.sum(1)
