"""Shares of a variance that add up to it: Shapley effects, of independent parameters and of dependent ones.

A parameter's effect is the mean, over the orders in which parameters are drawn anew, of what it adds to the
variance that those drawn anew make [owen2014]. Where parameters depend on each other, first-order and total
indices may add up to anything; these still add up to one, and none is below zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_check.imports import imported
from xattr_check.statistics.coalitions import shapley_weights, subsets
from xattr_check.statistics.salib import problem
from xattr_check.statistics.sobol import sobol_points

# Draws of a conditional variance: the fewer, the more orders there are for as many outputs. [song2016]
INNER = 3


@dataclass(frozen=True)
class Effects:
    """share: (…, D) float64, Shapley effects, which add up to 1. variance: (…,), what they are shares of."""

    share: Tensor
    variance: Tensor


def orders(parameters: int, samples: int, seed: int) -> Tensor:
    """(samples · (parameters + 1), parameters) float64 in 0…1: for `effects_by_orders`. [goda2021]

    From a point to another one, both drawn, one parameter after the other in random order.
    """
    sample = imported("SALib.sample.shapley", "sample")
    return torch.from_numpy(sample(problem(parameters), samples, seed=seed))


def effects_by_orders(design: Tensor, outputs: Tensor, weights: Tensor | None = None) -> Effects:
    """Effects of independent parameters, from outputs (M, samples · (D + 1)) on `orders`: (M, D). [goda2021]

    design: in any unit. weights: (R, samples) of bootstrap samples, one set of effects for each: (R, M, D).
    An output that never changes has effects of 0.
    """
    parameters = design.shape[1]
    moves = design.reshape(-1, parameters + 1, parameters).diff(dim=1) != 0
    walks = outputs.double().unflatten(1, (-1, parameters + 1))
    before, after = walks[..., :-1], walks[..., 1:]
    steps = (walks[..., :1] - (before + after) / 2) * (before - after)
    which = moves.long().argmax(2).to(outputs.device)
    return _shares(torch.zeros_like(steps).scatter_(2, which.expand_as(steps), steps), weights)


def mixtures(parameters: int, samples: int, seed: int) -> Tensor:
    """(samples · 2 ** parameters, parameters) float64 in 0…1: for `effects_of_all`, of a few parameters.

    A point with each set of its coordinates from another one in turn, the empty set first. From scrambled
    Sobol points: samples is a power of two.
    """
    if samples < 2 or samples & (samples - 1):
        raise ValueError(f"expected samples to be a power of two, came {samples}")
    first, second = sobol_points(2 * parameters, samples, seed).chunk(2, dim=1)
    return torch.where(subsets(parameters), second[:, None], first[:, None]).flatten(0, 1)


def effects_of_all(outputs: Tensor, parameters: int, weights: Tensor | None = None) -> Effects:
    """Effects of independent parameters by all sets of them, from outputs (M, K) on `mixtures`: (M, D).

    Only expectations are estimated, by ½ mean((f(A) − f(A with the set from B))²), what a set makes together
    with any others; orders are not drawn, but all there are. weights: as of `effects_by_orders`.
    """
    walks = outputs.double().unflatten(1, (-1, 2**parameters))
    costs = (walks - walks[..., :1]) ** 2 / 2
    return _shares(costs @ shapley_weights(subsets(parameters)).to(costs), weights)


def drawn_orders(parameters: int, samples: int, seed: int) -> Tensor:
    """(samples, parameters) int64: orders of the parameters, for `copula_design`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, parameters, generator=generator, dtype=torch.float64).argsort(1)


def copula_design(correlation: Tensor, order: Tensor, seed: int, *, inner: int = INNER) -> Tensor:
    """(samples · D · inner, D) float64 in 0…1: numbers that depend on each other by a Gaussian copula.

    correlation: (D, D), of the normal numbers of which these are the ranks.
    order: (samples, D) of `drawn_orders`. For the first 1, 2, … D parameters of each, what the others are is
        drawn once, and these `inner` times given that. [song2016]

    Raises ValueError for what is no correlation.
    """
    matrix = correlation.double().cpu()
    count = len(matrix)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed) or not torch.allclose(matrix.diagonal(), torch.ones(count, dtype=torch.float64)):
        raise ValueError("expected a positive definite matrix with ones on its diagonal for a correlation")
    # Other numbers than those of the orders.
    generator = torch.Generator().manual_seed(seed + 1)
    parts = []
    for one in order.cpu():
        # (D, D): at each step, which are drawn anew.
        anew = one.argsort() <= torch.arange(count)[:, None]
        kept = (~anew).double()
        size = (1 + inner, count, count)
        outer, *rest = torch.randn(size, generator=generator, dtype=torch.float64) @ factor.T
        # Matheron's rule: a draw of all, moved by what the kept ones are off by, is a draw given these.
        held = kept[:, :, None] * matrix * kept[:, None] + torch.diag_embed(1 - kept)
        gain = matrix @ torch.linalg.solve(held, torch.diag_embed(kept))
        given = [torch.where(anew, new + (gain @ (outer - new)[..., None])[..., 0], outer) for new in rest]
        parts.append(torch.stack(given, 1))
    found: Tensor = torch.special.ndtr(torch.stack(parts))
    return found.reshape(-1, count)


def effects_by_copula(
    order: Tensor, outputs: Tensor, weights: Tensor | None = None, *, inner: int = INNER
) -> Effects:
    """Effects of dependent parameters, from M outputs (M, samples · D · inner) on `copula_design`: (M, D).

    Algorithm 1 of [song2016] with one outer draw: what the first parameters of an order make, given the
    others, is the variance of `inner` outputs. The whole variance is that of all drawn anew, at the end of
    each order. weights: as of `effects_by_orders`.
    """
    samples, parameters = order.shape
    costs = outputs.double().reshape(len(outputs), samples, parameters, inner).var(3)
    steps = costs.diff(dim=2, prepend=torch.zeros_like(costs[..., :1]))
    which = order.to(outputs.device)
    return _shares(torch.zeros_like(steps).scatter_(2, which.expand_as(steps), steps), weights)


def _shares(contributions: Tensor, weights: Tensor | None) -> Effects:
    """Effects from what each sample (M, samples, D) adds to them, as shares of what they add up to."""
    found = (
        contributions.mean(1)
        if weights is None
        else torch.einsum("rn,mnd->rmd", weights.to(contributions), contributions)
    )
    variance = found.sum(-1)
    flat = variance == 0
    return Effects(found / variance.where(~flat, 1.0)[..., None], variance)
