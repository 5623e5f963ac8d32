"""Shares of a variance: Saltelli's design, first-order, second-order and total indices, their bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_check.imports import imported, neutral_warnings

with neutral_warnings():
    from scipy.special import ndtri

# Numbers of the largest intermediate result that are held at once: more than a cache holds is slower.
CHUNK = 2**18
# As torch's generators count them: scipy's take none below 0.
SEEDS = 2**64


@dataclass(frozen=True)
class Indices:
    """Of a function of D independent parameters, what share of its variance each of them makes.

    first: (…, D) float64, S₁: by itself. total: (…, D) float64, S_T: together with any of the others.
    second: (…, D, D) float64, S_ij, what two make together and neither by itself; 0 for one with itself. None
        where it was not asked for.
    """

    first: Tensor
    total: Tensor
    second: Tensor | None = None

    @property
    def ratio(self) -> Tensor:
        """(…, D) the primary index ratio S₁/S_T of [sbsa2022], NaN where the total index is 0."""
        return torch.where(self.total > 0, self.first / self.total, torch.nan)

    @property
    def paired(self) -> Tensor:
        """(…, D) Σⱼ S_ij, what each makes together with one other. Raises ValueError where not known."""
        if self.second is None:
            raise ValueError("expected indices with pairs=True")
        return self.second.sum(-1)


def sobol_points(parameters: int, samples: int, seed: int) -> Tensor:
    """(samples, parameters) float64 in 0…1, scrambled by a seed of any sign."""
    # Seconds of imports, which most runs can do without.
    drawing = imported("scipy.stats.qmc", "Sobol")(parameters, scramble=True, seed=seed % SEEDS)
    return torch.from_numpy(drawing.random(samples))


def saltelli_ends(parameters: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """A and B of Saltelli's design, each (samples, parameters) float64 in 0…1.

    samples: a power of two, for which Sobol points are balanced. Raises ValueError for others.
    """
    if samples < 2 or samples & (samples - 1):
        raise ValueError(f"expected samples to be a power of two, came {samples}")
    first, second = sobol_points(2 * parameters, samples, seed).chunk(2, dim=1)
    return first, second


def saltelli(parameters: int, samples: int, seed: int, *, pairs: bool = False) -> Tensor:
    """(samples · (parameters + 2), parameters) float64 in 0…1: the design of [saltelli2010].

    From scrambled Sobol points, one after the other: A, A with each of its columns from B in turn, B.
    samples: as of `saltelli_ends`.
    pairs: with B with each of its columns from A before B, samples · (2 parameters + 2) rows in all, as
        second-order indices need them. [saltelli2002]
    """
    first, second = saltelli_ends(parameters, samples, seed)
    design = first[:, None].repeat(1, (2 if pairs else 1) * parameters + 2, 1)
    columns = torch.arange(parameters)
    design[:, 1 + columns, columns] = second
    design[:, parameters + 1 :] = second[:, None]
    if pairs:
        design[:, 1 + parameters + columns, columns] = first
    return design.flatten(0, 1)


def sobol_indices(
    outputs: Tensor, parameters: int, weights: Tensor | None = None, *, pairs: bool = False
) -> Indices:
    """Indices of M outputs (M, samples · (parameters + 2)) on Saltelli's design: (M, D).

    The estimators (b) and (f) of Table 2 in [saltelli2010], on standardised outputs. An output that never
    changes has indices of 0.
    weights: (R, samples), one set of indices for each row of them: (R, M, D); see `resampled`.
    pairs: the design is the one with pairs, and second-order indices are found as well, (M, D, D), by
        [saltelli2002]: mean(f(BAᵢ) f(ABⱼ) − f(A) f(B)) / V − Sᵢ − Sⱼ.
    """
    return _in_parts(outputs, parameters, weights, pairs, lambda found: found)


def sobol_half_widths(
    outputs: Tensor, parameters: int, weights: Tensor, level: float = 0.95, *, pairs: bool = False
) -> Indices:
    """Half of the normal confidence interval of each index of `sobol_indices`, from bootstrap weights.

    The indices of all resamples are never held at once, but for a few outputs.
    """

    def of(found: Tensor) -> Tensor:
        return half_width(found, level)

    return _in_parts(outputs, parameters, weights, pairs, of)


def _in_parts(
    outputs: Tensor,
    parameters: int,
    weights: Tensor | None,
    pairs: bool,
    finish: Callable[[Tensor], Tensor],
) -> Indices:
    """Indices of outputs, a few of them at a time, each kind finished by itself: (…, m, K) to (…, m, K)."""
    samples = outputs.shape[1] // ((2 if pairs else 1) * parameters + 2)
    kept = samples if weights is None else samples + len(weights)
    each = parameters * (parameters - 1) // 2 if pairs else parameters + 2
    most = max(1, CHUNK // max(1, kept * each))
    parts = [
        [finish(one) for one in _indices(part, parameters, weights, pairs)] for part in outputs.split(most)
    ]
    first, total, *second = (torch.cat(kind, -2) for kind in zip(*parts, strict=True))
    return Indices(first, total, _square(second[0], parameters) if pairs else None)


def _square(values: Tensor, parameters: int) -> Tensor:
    """(…, D, D): values (…, D (D − 1) / 2) of all pairs, and 0 on the diagonal."""
    one, other = torch.triu_indices(parameters, parameters, 1, device=values.device)
    found = values.new_zeros(*values.shape[:-1], parameters, parameters)
    found[..., one, other] = values
    found[..., other, one] = values
    return found


def _indices(outputs: Tensor, parameters: int, weights: Tensor | None, pairs: bool) -> list[Tensor]:
    """S₁ and S_T (…, M, D), and with pairs S_ij (…, M, D (D − 1) / 2)."""
    outputs = outputs.double()
    centred = outputs - outputs.mean(1, keepdim=True)
    # Also of no outputs, where torch's own deviation would warn.
    deviation = (centred**2).mean(1, keepdim=True).sqrt()
    flat = outputs.amax(1, keepdim=True) == outputs.amin(1, keepdim=True)
    standard = centred / torch.where(flat, 1.0, deviation)
    # Samples come first, so that a mean over them, of whatever weights, is one product of matrices.
    rows = standard.unflatten(1, (-1, (2 if pairs else 1) * parameters + 2)).transpose(0, 1).contiguous()
    a, mixed, b = rows[..., :1], rows[..., 1 : parameters + 1], rows[..., -1:]
    change = mixed - a

    def mean(values: Tensor) -> Tensor:
        """Over the samples (N, M, K): (M, K), or (R, M, K) with weights."""
        if weights is None:
            return values.mean(0)
        found: Tensor = (weights.to(values) @ values.flatten(1)).unflatten(1, values.shape[1:])
        return found

    variance = mean(a**2 + b**2) / 2 - (mean(a + b) / 2) ** 2
    variance = torch.where(flat, 1.0, variance)
    first = mean(b * change).div_(variance)
    found = [first, mean(change.square_()).div_(2 * variance)]
    if pairs:
        one, other = torch.triu_indices(parameters, parameters, 1, device=outputs.device)
        turned = rows[..., parameters + 1 : -1]
        if weights is None:  # then they are one small product of matrices for each output
            products = torch.einsum("nmi,nmj->mij", turned, mixed)[:, one, other] / len(rows)
        else:
            products = mean(turned[..., one].mul_(mixed[..., other]))
        closed = products.sub_(mean(a * b)).div_(variance)
        found.append(closed.sub_(first[..., one]).sub_(first[..., other]))
    return found


def resampled(rows: Tensor) -> Tensor:
    """(R, samples) float64 weights of rows (R, samples) int64, each row of which is drawn from a sample."""
    counts = torch.zeros(rows.shape, dtype=torch.float64, device=rows.device)
    return counts.scatter_add_(1, rows, torch.ones_like(counts)) / rows.shape[1]


def bootstrap(samples: int, resamples: int, generator: torch.Generator) -> Tensor:
    """(resamples, samples) float64 weights of bootstrap samples."""
    return resampled(torch.randint(samples, (resamples, samples), generator=generator))


def half_width(values: Tensor, level: float = 0.95) -> Tensor:
    """Half of a normal confidence interval from bootstrapped values (R, …)."""
    # Several times as fast as torch's own deviation over the first axis.
    variance = (values - values.mean(0)).square_().sum(0) / (len(values) - 1)
    return float(ndtri(0.5 + level / 2)) * variance.sqrt_()
