"""Figures over inputs, and what lies between two of them."""

import math

import torch

from xattr_check.statistics.paired import Figure

VALUES = torch.tensor([1.0, 2.0, 4.0, 9.0])


def test_a_mean_leaves_out_what_is_not_known() -> None:
    figure = Figure.mean(torch.tensor([1.0, math.nan, 4.0]))
    assert figure.interval.value == 2.5
    assert figure.count == 2
    assert Figure.mean(torch.tensor([2.0, 2.0])).document() == {"value": 2.0, "interval": [2.0, 2.0]}


def test_a_ratio_is_one_of_sums() -> None:
    assert Figure(VALUES, 2 * torch.ones(4)).interval.value == 2.0


def test_intervals_are_percentiles_over_inputs() -> None:
    rows = torch.randint(4, (2000, 4), generator=torch.Generator().manual_seed(0))
    means = torch.stack([VALUES[row].mean() for row in rows]).double()
    ends = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64))
    found = Figure.mean(VALUES).interval
    torch.testing.assert_close(torch.tensor([found.low, found.high]).double(), ends)


def test_differences_are_paired() -> None:
    """What is the same of both inputs has no part in them."""
    found = Figure.mean(VALUES + 1).minus(Figure.mean(VALUES))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.value < Figure.mean(VALUES + 1).interval.high


def test_nothing_known_is_no_number() -> None:
    figure = Figure.mean(torch.tensor([math.nan, math.nan]))
    assert figure.count == 0
    assert math.isnan(figure.interval.value)
    assert figure.document() == {"value": None, "interval": None}


def test_one_input_says_nothing_of_others() -> None:
    figure = Figure.mean(torch.tensor([3.0, math.nan]))
    assert (figure.interval.low, figure.interval.high) == (-math.inf, math.inf)
    assert figure.document() == {"value": 3.0, "interval": None}
