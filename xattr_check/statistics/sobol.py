"""Shares of a variance: Saltelli's design, first-order and total indices, and their bootstrap."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_check.imports import imported, neutral_warnings

with neutral_warnings():
    from scipy.special import ndtri

# Numbers of the largest intermediate result that are held at once.
CHUNK = 2**19


@dataclass(frozen=True)
class Indices:
    """Of a function of D independent parameters, what share of its variance each of them makes.

    first: (…, D) float64, S₁: by itself. total: (…, D) float64, S_T: together with any of the others.
    """

    first: Tensor
    total: Tensor

    @property
    def ratio(self) -> Tensor:
        """(…, D) the primary index ratio S₁/S_T of [sbsa2022], NaN where the total index is 0."""
        return torch.where(self.total > 0, self.first / self.total, torch.nan)


def saltelli(parameters: int, samples: int, seed: int) -> Tensor:
    """(samples · (parameters + 2), parameters) float64 in 0…1: the design of [saltelli2010].

    From scrambled Sobol points, one after the other: A, A with each of its columns from B in turn, B.
    samples: a power of two, for which Sobol points are balanced. Raises ValueError for others.
    """
    if samples < 2 or samples & (samples - 1):
        raise ValueError(f"expected samples to be a power of two, came {samples}")
    # Seconds of imports, which most runs can do without.
    points = torch.from_numpy(
        imported("scipy.stats.qmc", "Sobol")(2 * parameters, scramble=True, seed=seed).random(samples)
    )
    first, second = points.chunk(2, dim=1)
    design = first[:, None].repeat(1, parameters + 2, 1)
    columns = torch.arange(parameters)
    design[:, 1 + columns, columns] = second
    design[:, -1] = second
    return design.flatten(0, 1)


def sobol_indices(outputs: Tensor, parameters: int, weights: Tensor | None = None) -> Indices:
    """Indices of M outputs (M, samples · (parameters + 2)) on Saltelli's design: (M, D).

    The estimators (b) and (f) of Table 2 in [saltelli2010], on standardised outputs. An output that never
    changes has indices of 0.
    weights: (R, samples), one set of indices for each row of them: (R, M, D); see `resampled`.
    """
    most = max(1, CHUNK // (outputs.shape[1] + (0 if weights is None else len(weights) * parameters)))
    parts = [_indices(part, parameters, weights) for part in outputs.split(most)]
    return Indices(torch.cat([p.first for p in parts], -2), torch.cat([p.total for p in parts], -2))


def _indices(outputs: Tensor, parameters: int, weights: Tensor | None) -> Indices:
    outputs = outputs.double()
    centred = outputs - outputs.mean(1, keepdim=True)
    # Also of no outputs, where torch's own deviation would warn.
    deviation = (centred**2).mean(1, keepdim=True).sqrt()
    flat = outputs.amax(1, keepdim=True) == outputs.amin(1, keepdim=True)
    standard = centred / torch.where(flat, 1.0, deviation)
    # Samples come first, so that a mean over them, of whatever weights, is one product of matrices.
    rows = standard.T.unflatten(0, (-1, parameters + 2)).mT
    a, mixed, b = rows[..., :1], rows[..., 1:-1], rows[..., -1:]
    change = mixed - a

    def mean(values: Tensor) -> Tensor:
        """Over the samples (N, M, K): (M, K), or (R, M, K) with weights."""
        if weights is None:
            return values.mean(0)
        found: Tensor = (weights.to(values) @ values.flatten(1)).unflatten(1, values.shape[1:])
        return found

    variance = mean(a**2 + b**2) / 2 - (mean(a + b) / 2) ** 2
    variance = torch.where(flat, 1.0, variance)
    return Indices(mean(b * change) / variance, mean(change.square_()) / 2 / variance)


def resampled(rows: Tensor) -> Tensor:
    """(R, samples) float64 weights of rows (R, samples) int64, each row of which is drawn from a sample."""
    counts = torch.zeros(rows.shape, dtype=torch.float64, device=rows.device)
    return counts.scatter_add_(1, rows, torch.ones_like(counts)) / rows.shape[1]


def bootstrap(samples: int, resamples: int, generator: torch.Generator) -> Tensor:
    """(resamples, samples) float64 weights of bootstrap samples."""
    return resampled(torch.randint(samples, (resamples, samples), generator=generator))


def half_width(values: Tensor, level: float = 0.95) -> Tensor:
    """Half of a normal confidence interval from bootstrapped values (R, …)."""
    return float(ndtri(0.5 + level / 2)) * values.std(0, correction=1)
