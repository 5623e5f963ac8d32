"""Shapley effects against closed forms, all sets of parameters, and SALib."""

import itertools
import math

import numpy as np
import pytest
import torch
from SALib.analyze import shapley as analysis
from SALib.sample import shapley as sampling
from torch import Tensor

from xattr_check.statistics.coalitions import shapley_weights, subsets
from xattr_check.statistics.shapley_effects import (
    Effects,
    copula_design,
    drawn_orders,
    effects_by_copula,
    effects_by_orders,
    effects_of_all,
    mixtures,
    orders,
)
from xattr_check.statistics.sobol import bootstrap, half_width

WEIGHTS = torch.tensor([3.0, -1.0, 2.0, 0.5], dtype=torch.float64)


def polynomial(points: Tensor) -> Tensor:
    """Σ w x + 6 x₁ x₃ of centred numbers."""
    x = points - 0.5
    return x @ WEIGHTS + 6 * x[:, 1] * x[:, 3]


def polynomial_effects() -> Tensor:
    """What each makes by itself, and half of what the pair makes, which is as much for both."""
    alone = WEIGHTS**2 / 12
    pair = torch.tensor([0, 0.5, 0, 0.5]) * 36 / 144
    return (alone + pair) / (alone + pair).sum()


def normal_sum(design: Tensor, coefficients: Tensor, deviations: Tensor) -> Tensor:
    """A sum of normal numbers, of which a design has the ranks."""
    return torch.special.ndtri(design) @ (coefficients * deviations)


def linear_effects(coefficients: Tensor, covariance: Tensor) -> Effects:
    """Of a sum of normal numbers: by the variance that each set leaves, given the others. [owen2017]"""
    sets = subsets(len(coefficients))
    costs = []
    for some in sets:
        across = covariance[some][:, ~some]
        given = across @ torch.linalg.solve(covariance[~some][:, ~some], across.T)
        costs.append(coefficients[some] @ (covariance[some][:, some] - given) @ coefficients[some])
    found = torch.stack(costs) @ shapley_weights(sets)
    return Effects(found / costs[-1], costs[-1])


def correlated(rho: float) -> Tensor:
    """Of four, each with the next one and its powers."""
    places = torch.arange(4, dtype=torch.float64)
    return rho ** (places[:, None] - places).abs()


def test_all_orders_are_what_the_weights_say() -> None:
    generator = torch.Generator().manual_seed(0)
    sets = subsets(4)
    values = torch.randn(16, generator=generator, dtype=torch.float64)
    found = values @ shapley_weights(sets)
    wanted = torch.zeros(4, dtype=torch.float64)
    for order in itertools.permutations(range(4)):
        before = 0
        for player in order:
            wanted[player] += (values[before | 1 << player] - values[before]) / 24
            before |= 1 << player
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_effects_of_a_polynomial() -> None:
    for found in (
        effects_of_all(polynomial(mixtures(4, 2**11, 0))[None], 4),
        effects_by_orders(design := orders(4, 16000, 1), polynomial(design)[None]),
    ):
        torch.testing.assert_close(found.share[0], polynomial_effects(), rtol=0, atol=0.03)
        assert float(found.share.sum()) == pytest.approx(1)
        wanted = float((WEIGHTS**2).sum() / 12 + 36 / 144)
        assert float(found.variance[0]) == pytest.approx(wanted, rel=0.05)


def test_two_estimates_are_one_where_the_draws_are() -> None:
    """All sets of a mixture by the slow sum over sets, for one output."""
    outputs = polynomial(mixtures(3 + 1, 8, 0))[None]
    found = effects_of_all(outputs, 4)
    walks = outputs.reshape(8, 16)
    costs = [float(((walks[:, one] - walks[:, 0]) ** 2).mean() / 2) for one in range(16)]
    wanted = []
    for player in range(4):
        total = 0.0
        for one in range(16):
            if not one >> player & 1:
                size = one.bit_count()
                ways = math.factorial(size) * math.factorial(3 - size) / math.factorial(4)
                total += ways * (costs[one | 1 << player] - costs[one])
        wanted.append(total / costs[15])
    assert found.share[0].tolist() == pytest.approx(wanted, abs=1e-12)


def test_salib_says_the_same() -> None:
    told = {"num_vars": 4, "names": list("abcd"), "bounds": [[0.0, 1.0]] * 4}
    design = orders(4, 50, 3)
    np.testing.assert_array_equal(design, sampling.sample(told, 50, seed=3))
    outputs = torch.stack([polynomial(design), 7 - design[:, 2] ** 3])
    found = effects_by_orders(2 * design, outputs)
    for share, variance, one in zip(found.share, found.variance, outputs.numpy(), strict=True):
        theirs = analysis.analyze(told, design.numpy(), one)
        np.testing.assert_allclose(share, theirs["shapley_normalized"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(share * variance, theirs["shapley"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.6, 0.9])
def test_effects_of_correlated_normal_numbers(rho: float) -> None:
    matrix = correlated(rho)
    order = drawn_orders(4, 3000, 0)
    design = copula_design(matrix, order, 0)
    deviations = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    found = effects_by_copula(order, normal_sum(design, WEIGHTS, deviations)[None])
    known = linear_effects(WEIGHTS, deviations[:, None] * matrix * deviations)
    torch.testing.assert_close(found.share[0], known.share, rtol=0, atol=0.06)
    assert float(found.variance[0]) == pytest.approx(float(known.variance), rel=0.1)


def test_two_correlated_numbers_share_what_they_have_in_common() -> None:
    """The formula for two: (β₁²σ₁² (1 − ρ²/2) + ρ β₁σ₁β₂σ₂ + β₂²σ₂² ρ²/2) / V. [owen2017]"""
    one, other, rho = 3.0, 1.0, 0.7
    known = linear_effects(
        torch.tensor([one, other]).double(), torch.tensor([[1.0, rho], [rho, 1.0]]).double()
    )
    variance = one**2 + other**2 + 2 * rho * one * other
    first = (one**2 * (1 - rho**2 / 2) + rho * one * other + other**2 * rho**2 / 2) / variance
    assert known.share.tolist() == pytest.approx([first, 1 - first])


def test_what_is_drawn_together_has_the_correlation_and_the_order() -> None:
    """Every row is a draw of all, the kept ones of a step are the same, and all are at its end drawn anew."""
    matrix = correlated(0.8)
    order = drawn_orders(4, 4000, 1)
    design = copula_design(matrix, order, 1)
    for step in range(4):
        normal = torch.special.ndtri(design.reshape(4000, 4, 3, 4)[:, step, 0])
        torch.testing.assert_close(torch.corrcoef(normal.T), matrix, rtol=0, atol=0.06)
    draws = design.reshape(4000, 4, 3, 4)
    same = (draws == draws[:, :, :1]).all(2)
    for row, one in enumerate(order[:20]):
        for step in range(4):
            assert same[row, step].tolist() == [player not in one[: step + 1] for player in range(4)]
    assert torch.equal(order.sort(1).values, torch.arange(4).expand(4000, 4))


def test_what_is_no_correlation_is_refused() -> None:
    for wrong in (torch.ones(2, 2), 2 * torch.eye(2), torch.tensor([[1.0, -2.0], [-2.0, 1.0]])):
        with pytest.raises(ValueError, match="expected a positive definite matrix with ones on its diagonal"):
            copula_design(wrong, drawn_orders(2, 1, 0), 0)


def test_intervals_cover_the_known_effects() -> None:
    known, inside = polynomial_effects(), []
    for seed in range(30):
        design = orders(4, 128, seed)
        outputs = polynomial(design)[None]
        weights = bootstrap(128, 200, torch.Generator().manual_seed(seed))
        widths = half_width(effects_by_orders(design, outputs, weights).share)
        inside.append((effects_by_orders(design, outputs).share - known).abs()[0] <= widths[0])
    assert float(torch.stack(inside).double().mean()) > 0.9


def test_bootstrap_weights_that_are_even_change_nothing() -> None:
    weights = torch.full((2, 8), 1 / 8, dtype=torch.float64)
    order = drawn_orders(4, 8, 0)
    together = copula_design(correlated(0.5), order, 0)
    outputs = torch.stack([polynomial(together), torch.full((96,), 0.1).double()])
    for found, again in (
        (effects_by_copula(order, outputs), effects_by_copula(order, outputs, weights)),
        (
            effects_of_all(polynomial(mixtures(4, 8, 0))[None], 4),
            effects_of_all(polynomial(mixtures(4, 8, 0))[None], 4, weights),
        ),
    ):
        torch.testing.assert_close(again.share, found.share.expand_as(again.share))
    # An output that never changes has no variance to share.
    assert effects_by_copula(order, outputs).share[1].tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="expected samples to be a power of two, came 3"):
        mixtures(2, 3, 0)
