"""Lines: what a check measured along an axis, for the report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# Half the width of an interval that holds the mean 95 times in 100, in standard errors.
SPREAD = 1.96

Axis = Sequence[float] | Sequence[str]
Points = Sequence[float]


@dataclass(frozen=True)
class Lines:
    """What was measured in one draw.

    across, up: what the axes show. x: s places, numbers or the names of steps.
    rows: (n, s) by the name of a line, one row for each unit; one line without a need for a name has ''.
    """

    across: str
    up: str
    x: Axis
    rows: Mapping[str, Tensor]


@dataclass(frozen=True)
class Line:
    """The mean over units at every place, and the ends of its interval of 95 %."""

    mean: Points
    low: Points
    high: Points

    @classmethod
    def of(cls, rows: Tensor) -> "Line":
        """The mean line of rows (n, s); undefined places of a row do not count."""
        rows = rows.double()
        mean, count = rows.nanmean(0), (~rows.isnan()).sum(0)
        squares = (rows - mean).square().nansum(0) / (count - 1).clamp_min(1)
        half = SPREAD * (squares / count.clamp_min(1)).sqrt()
        return cls(mean.tolist(), (mean - half).tolist(), (mean + half).tolist())


@dataclass(frozen=True)
class Figure:
    """The lines of a method over all draws, and the means of those of the controls, by control and line."""

    across: str
    up: str
    x: Axis
    lines: Mapping[str, Line]
    controls: Mapping[str, Mapping[str, Points]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The figure as JSON types, in four digits; what is not finite is None."""
        return {
            "across": self.across,
            "up": self.up,
            "x": list(self.x),
            "lines": {
                name: {"mean": _rounded(line.mean), "low": _rounded(line.low), "high": _rounded(line.high)}
                for name, line in self.lines.items()
            },
            "controls": {
                control: {name: _rounded(points) for name, points in own.items()}
                for control, own in self.controls.items()
            },
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Figure":
        """The figure that a record tells of."""
        return cls(
            record["across"],
            record["up"],
            record["x"],
            {name: Line(**{end: _read(line[end]) for end in line}) for name, line in record["lines"].items()},
            {
                control: {name: _read(points) for name, points in own.items()}
                for control, own in record["controls"].items()
            },
        )


def figure(drawn: Sequence[Lines], controls: Mapping[str, Sequence[Mapping[str, Tensor]]]) -> Figure | None:
    """The figure of the lines of all draws, and of the controls' rows by control; None without any lines."""
    if not drawn:
        return None
    first = drawn[0]
    return Figure(
        first.across,
        first.up,
        first.x,
        {name: Line.of(torch.cat([lines.rows[name] for lines in drawn]).cpu()) for name in first.rows},
        {
            control: {
                name: Line.of(torch.cat([rows[name] for rows in parts]).cpu()).mean for name in parts[0]
            }
            for control, parts in controls.items()
        },
    )


def _rounded(points: Points) -> list[float | None]:
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in points]


def _read(points: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in points]
