"""Shares of regions against closed forms, and ratios that noise alone brings above 1."""

import pytest
import torch
from torch import Tensor

from xattr_check.statistics.sobol import saltelli
from xattr_check.uses.regions import GAIN, pair, ratios

INPUTS = 40


def outputs_of(count: int, samples: int, weights: Tensor, pairs: Tensor) -> Tensor:
    """(n, K): Σ w g + Σ v g g of gains with mean 1, for weights (n, D) and pairs (n, D, D)."""
    rows = []
    for place in range(len(weights)):
        gains = GAIN * saltelli(count, samples, place)
        rows.append(gains @ weights[place] + ((gains @ pairs[place]) * gains).sum(1))
    return torch.stack(rows)


def test_two_regions_of_a_product() -> None:
    """Of g h, with mean 1 and variance 1/3 each: V = 7/9, of which 1/3 are each one's own."""
    product = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64).expand(INPUTS, 2, 2)
    found = pair("mask", outputs_of(2, 256, torch.zeros(INPUTS, 2).double(), product))
    assert found.names == ("background", "foreground")
    assert found.forwards == 4 * 256
    for figure in found.first:
        assert figure.interval.value == pytest.approx(3 / 7, abs=0.02)
    for figure in found.total:
        assert figure.interval.value == pytest.approx(4 / 7, abs=0.02)
    for figure in found.ratios:
        assert figure.interval.value == pytest.approx(3 / 4, abs=0.03)
    assert found.together.interval.low < 1 / 7 < found.together.interval.high
    assert found.gap.interval.value == pytest.approx(0, abs=0.02)


def test_two_regions_of_a_sum_make_nothing_together() -> None:
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64).expand(INPUTS, 2)
    found = pair("colour", outputs_of(2, 64, weights, torch.zeros(INPUTS, 2, 2).double()))
    assert found.together.interval.value == pytest.approx(0, abs=0.02)
    assert found.gap.interval.value == pytest.approx(4 / 5 - 1 / 5, abs=0.03)


def test_the_fifth_with_the_largest_share() -> None:
    """Two of ten regions have nearly all, and only together; the others are a sum."""
    weights = torch.cat([torch.zeros(INPUTS, 2), 0.2 * torch.ones(INPUTS, 8)], 1).double()
    pairs = torch.zeros(INPUTS, 10, 10, dtype=torch.float64)
    pairs[:, 0, 1] = 10
    found = ratios("grid:4", 10, outputs_of(10, 256, weights, pairs))
    assert found.top.interval.value == pytest.approx(3 / 4, abs=0.05)


@pytest.mark.parametrize(("count", "samples"), [(16, 64), (16, 256), (64, 64)])
def test_noise_explains_how_many_are_above_one(count: int, samples: int) -> None:
    """Polynomials of equal regions, half of the variance in the products: the true ratio is 1/3."""
    weights = torch.ones(INPUTS, count, dtype=torch.float64)
    signs = torch.randn(INPUTS, count, count, generator=torch.Generator().manual_seed(0)).double().sign()
    pairs = signs.triu(1) * (6 / (count - 1)) ** 0.5
    weights = weights - (pairs + pairs.mT).sum(2)  # so that products are of gains less their mean
    found = ratios("grid:4", count, outputs_of(count, samples, weights, pairs))
    assert found.above.interval.value == pytest.approx(found.noise.interval.value, abs=0.04)
    assert found.beyond.interval.value < 0.02


def test_more_than_noise_is_told() -> None:
    """An output that is no function of the gains, as where the rows of a batch mix."""
    outputs = outputs_of(4, 64, torch.ones(INPUTS, 4).double(), torch.zeros(INPUTS, 4, 4).double())
    rows = outputs.reshape(INPUTS, 64, 6)
    rows[..., 1:5] = 0.9 * rows[..., :1] + 0.1 * rows[..., 5:]  # each region does little, and all the same
    found = ratios("grid:2", 4, rows.flatten(1))
    assert found.beyond.interval.low > 0.2


def test_outputs_that_never_change_do_not_count() -> None:
    outputs = torch.ones(3, 64 * 6, dtype=torch.float64)
    outputs[0] = outputs_of(4, 64, torch.ones(1, 4).double(), torch.zeros(1, 4, 4).double())[0]
    assert ratios("grid:2", 4, outputs).top.count == 1
    assert pair("mask", torch.ones(3, 64 * 4, dtype=torch.float64)).gap.count == 0
