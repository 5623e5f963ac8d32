"""Figures beside each other on one axis."""

import re

import pytest

from xattr_check.report.charts import Dot, beside

NAN = float("nan")


def dot(name: str, value: float, half: float) -> Dot:
    return Dot(name, value, value - half, value + half)


def words(series: dict[str, list[Dot]]) -> list[str]:
    """What is written on the chart."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", beside(series, "a share", "salt", (0, 1)))


def ticks(found: list[str], places: int) -> list[float]:
    """The numbers with so many places, which are those of the axis."""
    return [float(word) for word in found if re.fullmatch(rf"-?\d+\.\d{{{places}}}", word)]


def test_one_noisy_estimate_leaves_the_others_legible() -> None:
    kind = [dot("model", 0.5, 0.1), dot("noisy", 12, 3), dot("lower", -9.3, 4), dot("wide", 0.7, 5)]
    found = words({"grid:4": kind})
    assert {"12", "-9.3"} <= set(found)
    on_axis = ticks(found, 2)
    assert len(on_axis) > 4
    assert (min(on_axis), max(on_axis)) == (-0.5, 1.5)


def test_the_axis_goes_no_further_than_the_intervals() -> None:
    found = words(
        {"x": [dot("a", 0.5, 0.1), dot("b", NAN, NAN)], "y": [dot("a", 1.1, 0.1), dot("b", 0.3, NAN)]}
    )
    on_axis = ticks(found, 1)
    assert (min(on_axis), max(on_axis)) == (0.4, 1.2)


@pytest.mark.parametrize(("values", "beyond"), [([0.5], 0), ([2.0], 1), ([2.0, -3.0, 1.4], 2)])
def test_what_is_beyond_the_axis_is_told_in_numbers(values: list[float], beyond: int) -> None:
    """On the chart those alone, and all of them to who does not see it."""
    kind = [dot(str(place), value, 0.05) for place, value in enumerate(values)]
    svg = beside({"x": kind}, "a", "salt", (0, 1))
    shown = [value for value in values if f">{value:.3g}</text>" in svg]
    assert len(shown) == beyond
    assert all(f"{place} x {value:.3g}" in svg for place, value in enumerate(values))


def test_no_estimate_at_all() -> None:
    assert "a share" in words({"x": [dot("a", NAN, NAN)]})
