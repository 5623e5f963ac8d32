"""Shares that hold half, and Gini indices, against loops and formulas."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xattr_check.statistics.sparsity import gini, half_shares

ROWS = st.lists(st.floats(0, 100), min_size=1, max_size=12).filter(lambda row: sum(row) > 1e-3)


@given(ROWS)
def test_half_of_a_row_by_a_loop(row: list[float]) -> None:
    left, count = sum(row) / 2, 0.0
    for value in sorted(row, reverse=True):
        taken = min(value, left)
        count += taken / value if value else 0
        left -= taken
    assert float(half_shares(torch.tensor([row], dtype=torch.float64))) == pytest.approx(
        count / len(row), abs=1e-9
    )


@given(ROWS)
def test_gini_is_the_mean_difference_over_twice_the_mean(row: list[float]) -> None:
    apart = sum(abs(one - other) for one in row for other in row)
    wanted = apart / (2 * len(row) * sum(row))
    assert float(gini(torch.tensor([row], dtype=torch.float64))) == pytest.approx(wanted, abs=1e-9)


def test_ends() -> None:
    rows = torch.tensor([[1.0, 1, 1, 1], [0, 0, 5, 0], [0, 0, 0, 0], [3, 1, 1, 1]])
    assert half_shares(rows).tolist() == [0.5, 0.125, 0.5, 0.25]
    assert gini(rows).tolist() == [0, 0.75, 0, 0.25]


def test_padding_does_not_count() -> None:
    rows = torch.tensor([[4.0, 2, 2, 9]])
    valid = torch.tensor([[True, True, True, False]])
    assert half_shares(rows, valid).tolist() == half_shares(rows[:, :3]).tolist()
    assert gini(rows, valid).tolist() == pytest.approx(gini(rows[:, :3]).tolist())
