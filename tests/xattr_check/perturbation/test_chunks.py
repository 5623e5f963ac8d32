"""Chunks cover everything once, whatever a device can take."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xattr_check.perturbation.chunks import Chunks


class Device:
    """Takes so many inputs at once, and keeps account of what was done."""

    def __init__(self, limit: int, each: int = 1) -> None:
        self.limit, self.each = limit, each
        self.tried: list[int] = []

    def work(self, rows: slice, numbers: slice = slice(0, 1)) -> list[tuple[int, int]]:
        pairs = [(r, n) for r in range(rows.start, rows.stop) for n in range(numbers.start, numbers.stop)]
        self.tried.append(self.each * len(pairs))
        if self.tried[-1] > self.limit:
            raise torch.OutOfMemoryError
        return pairs


@given(size=st.integers(0, 40), limit=st.integers(1, 40), rows=st.integers(0, 12), numbers=st.integers(0, 12))
def test_every_pair_is_worked_on_once(size: int, limit: int, rows: int, numbers: int) -> None:
    device = Device(limit)
    done: list[tuple[int, int]] = []
    for some, part, found in Chunks(size).over_pairs(device.work, rows, numbers):
        assert found == [(r, n) for r in range(some.start, some.stop) for n in range(part.start, part.stop)]
        done += found
    assert sorted(done) == [(row, number) for row in range(rows) for number in range(numbers)]
    for row in range(rows):
        assert [n for r, n in done if r == row] == list(range(numbers))
    assert max(device.tried, default=0) <= max(1, size)
    failures = sum(one > limit for one in device.tried)
    assert failures <= 6  # halved from 40 at the most, and none is tried again


@given(size=st.integers(0, 60), limit=st.integers(0, 60), rows=st.integers(1, 12), each=st.integers(1, 7))
def test_rows_that_take_several_inputs(size: int, limit: int, rows: int, each: int) -> None:
    device, chunks = Device(limit, each), Chunks(size)
    if limit < each:
        with pytest.raises(torch.OutOfMemoryError):
            list(chunks.over(device.work, rows, each))
        assert device.tried[-1] == each
        return
    assert [row for _, found in chunks.over(device.work, rows, each) for row, _ in found] == list(range(rows))
    before = len(device.tried)
    list(chunks.over(device.work, rows, each))
    assert max(device.tried[before:]) <= limit  # what did not fit is not tried again


def test_what_is_done_is_not_done_again() -> None:
    device = Device(5)
    chunks = Chunks(8)
    blocks = chunks.over_pairs(device.work, 6, 4)
    parts = [(some.start, some.stop, part.start, part.stop) for some, part, _ in blocks]
    assert device.tried == [6, 3, 3, 3, 3, 3, 3, 3, 3]
    assert parts[:5] == [(0, 3, 0, 1), (0, 3, 1, 2), (0, 3, 2, 3), (0, 3, 3, 4), (3, 6, 0, 1)]
    assert chunks.size == 3


def test_other_errors_are_not_caught() -> None:
    def work(rows: slice) -> None:
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        list(Chunks(4).over(work, 8))
