"""What is ranked and removed as one."""

from dataclasses import replace

import pytest
import torch
from subjects import columns, images, tokens

from xattr_check import Subject
from xattr_check.core.units import By, Units


@pytest.mark.parametrize(
    ("make", "by", "shape", "count"),
    [
        (images, "pixels", (12, 12), 144),
        (images, "channels", (3, 12, 12), 432),
        (images, "regions", (12, 12), 64),
        (columns, "pixels", (6,), 6),
        (columns, "channels", (6,), 6),
        (columns, "regions", (6,), 6),
        (tokens, "pixels", (5,), 5),
        (tokens, "channels", (5, 4), 20),
        (tokens, "regions", (5,), 5),
    ],
)
def test_sums_by_a_loop(make: object, by: By, shape: tuple[int, ...], count: int) -> None:
    subject: Subject = make(count=3)  # type: ignore[operator]
    units = Units.of(subject, by)
    assert (tuple(units.index.shape), units.count) == (shape, count)
    maps = torch.randn(subject.inputs.shape, dtype=torch.float64)
    each = maps if len(shape) == maps.ndim - 1 else maps.sum(1 if subject.is_image else -1)
    for unit in range(count):
        expected = (each * (units.index == unit)).flatten(1).sum(1)
        torch.testing.assert_close(units.sums(maps)[:, unit], expected)
    assert torch.equal(units.spread(torch.arange(count)[None])[0], units.index)


@pytest.mark.parametrize("make", [images, tokens])
def test_one_number_for_all_channels_counts_for_each(make: object) -> None:
    subject: Subject = make(count=3)  # type: ignore[operator]
    maps = subject.inputs.mean(1 if subject.is_image else -1, keepdim=True)
    expected = maps.expand_as(subject.inputs).flatten(1).double()
    assert torch.equal(Units.of(subject, "channels").sums(maps), expected)


def test_regions_are_the_subject_s_own() -> None:
    regions = torch.arange(144).reshape(12, 12) // 40 + 7
    units = Units.of(replace(images(), regions=regions), "regions")
    assert torch.equal(units.index, regions - 7)
    assert units.count == 4
