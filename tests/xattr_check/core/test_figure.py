"""Lines along an axis: means with their intervals, and back from JSON."""

import json
import math

import pytest
import torch

from xattr_check.core.figure import Figure, Line, Lines, figure

ROWS = torch.tensor([[1.0, 4.0], [3.0, float("nan")], [5.0, 8.0]], dtype=torch.float64)


def test_a_line_is_the_mean_of_what_is_defined_with_its_interval() -> None:
    found = Line.of(ROWS)
    assert found.mean == [3.0, 6.0]
    # By hand: deviations 2 and √8 over √3 and √2 rows.
    assert found.high == pytest.approx([3 + 1.96 * 2 / math.sqrt(3), 6 + 1.96 * math.sqrt(8) / math.sqrt(2)])
    assert found.low == pytest.approx([3 - 1.96 * 2 / math.sqrt(3), 6 - 1.96 * math.sqrt(8) / math.sqrt(2)])


def test_draws_are_joined_and_controls_keep_their_means() -> None:
    drawn = [Lines("share", "probability", (0, 1), {"": part}) for part in ROWS.split([2, 1])]
    found = figure(drawn, {"random": [{"": ROWS[:2]}, {"": ROWS[2:]}]})
    assert found is not None
    assert (found.across, found.up, found.x) == ("share", "probability", (0, 1))
    assert found.lines == {"": Line.of(ROWS)}
    assert found.controls == {"random": {"": [3.0, 6.0]}}


def test_without_lines_there_is_no_figure() -> None:
    assert figure([], {"random": []}) is None


def test_a_figure_survives_json() -> None:
    line = Line([0.123456, math.nan], [0.1, math.nan], [0.2, math.inf])
    made = Figure("steps", "likeness", ["stem", "head"], {"signed": line}, {"edges": {"signed": [1.0, 0.5]}})
    found = Figure.from_record(json.loads(json.dumps(made.record(), allow_nan=False)))
    assert found.x == ["stem", "head"]
    assert found.lines["signed"].mean[0] == 0.1235
    assert math.isnan(found.lines["signed"].mean[1])
    assert math.isnan(found.lines["signed"].high[1])
    assert found.controls == {"edges": {"signed": [1.0, 0.5]}}
