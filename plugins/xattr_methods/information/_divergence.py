"""How much information passes a bottleneck: Kullback–Leibler divergences of Gaussians, in nats.

All are functions of ln(1 − λ), which stays finite where λ rounds to one.
"""

import torch
from torch import Tensor
from torch.nn import functional

from xattr_check.core.layouts import blurred

REACH = 3  # deviations


def shares(logits: Tensor, sigma: float = 0.0) -> tuple[Tensor, Tensor]:
    """λ, what passes, and ln(1 − λ), of logits (N, *shape): sigmoids, under a Gaussian of so many cells.

    sigma: of cells (N, C, *cells); 0 leaves them as they are. A blur of 1 − λ is 1 minus the blur of λ, so
    that neither is taken from the other.
    """
    if sigma <= 0:
        return logits.sigmoid(), functional.logsigmoid(-logits)
    passed, rest = logits.sigmoid(), (-logits).sigmoid()
    # Where nothing rounds to zero, three times as fast.
    if float(rest.detach().amin()) > torch.finfo(rest.dtype).tiny:
        return blurred(passed, sigma), blurred(rest, sigma).log()
    return blurred(passed, sigma), log_blurred(functional.logsigmoid(-logits), sigma)


def log_blurred(logs: Tensor, sigma: float) -> Tensor:
    """The logarithm of what `blurred` makes of the exponentials of logs (N, C, *cells)."""
    cells = logs.shape[2:]
    radius = min(int(REACH * sigma + 0.5), min(cells) - 1)
    steps = torch.arange(-radius, radius + 1, device=logs.device)
    weights = (-0.5 * (steps.to(logs) / sigma) ** 2).log_softmax(0)
    for axis, side in enumerate(cells, start=2):
        places = (torch.arange(side, device=logs.device)[:, None] + steps).abs()
        places = (side - 1) - ((side - 1) - places).abs()  # reflected at either border
        seen = logs.index_select(axis, places.flatten()).unflatten(axis, tuple(places.shape))
        logs = (seen + weights.reshape(-1, *[1] * (logs.ndim - axis - 1))).logsumexp(axis + 1)
    return logs


def divergence(passed: Tensor, log_rest: Tensor, scores: Tensor) -> Tensor:
    """KL(P(Z|R) ‖ Q(Z)) ≥ 0 of each number, eq. 7 of [schulz2020]: ½ (λ² r² + (1 − λ)² − 1) − ln(1 − λ).

    passed: λ. scores: r = (R − μ) / σ.
    """
    rest = log_rest.exp()
    return (0.5 * ((passed * scores) ** 2 + rest**2 - 1) - log_rest).clamp_min(0)


def conditional_divergence(logits: Tensor, prior: Tensor, scores: Tensor) -> Tensor:
    """KL(P(Z|I) ‖ P(Z)) ≥ 0 of each number, where a first bottleneck has let λ_G pass. Prop. 3 of [zhang2021]

    logits: of Λ. prior: λ_G in 0…1. scores: (I − μ) / σ. With λ_G = 0 it is `divergence`, with 1 it is 0.
    """
    log_rest = functional.logsigmoid(-logits)
    # 1 − λ_G Λ = (1 − λ_G) + λ_G (1 − Λ).
    log_without = torch.log1p(-prior)
    log_whole = torch.logaddexp(log_without, prior.log() + log_rest)
    ratio = log_rest - log_whole
    shift = functional.logsigmoid(logits) + log_without - log_whole
    return (0.5 * ((2 * ratio).exp() + (2 * shift).exp() * scores**2 - 1) - ratio).clamp_min(0)
