"""The ranges of numbers that parameters may have, told before anything runs: `keep: Part = 0.5`."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin


@dataclass(frozen=True)
class Range:
    """The numbers from an end up, or between two.

    without: the ends that do not belong to it; an infinite one never does.
    """

    low: float
    high: float = math.inf
    without: frozenset[float] = frozenset()

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high and number not in self.without | {math.inf}

    def __str__(self) -> str:
        """What follows `a number`: `from 1 to 100`, `of at least 0 and below 1`, `above 0`."""
        if not self.without and math.isfinite(self.high):
            return f"from {self.low:g} to {self.high:g}"
        low = f"{'above' if self.low in self.without else 'of at least'} {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.high in self.without else 'at most'} {self.high:g}"


Count = Annotated[int, Range(1)]
Several = Annotated[int, Range(2)]
Whole = Annotated[int, Range(0)]
AtLeastOne = Annotated[float, Range(1)]
Positive = Annotated[float, Range(0, without=frozenset({0}))]
NotNegative = Annotated[float, Range(0)]
# Some of a whole: it may be none of it, or neither none nor all.
Partly = Annotated[float, Range(0, 1, frozenset({1}))]
Part = Annotated[float, Range(0, 1, frozenset({0, 1}))]
Percentage = Annotated[int, Range(1, 100)]


def bare(annotation: Any) -> tuple[Any, Range | None]:
    """What an annotation says without a range, and the range; None where it has none."""
    if get_origin(annotation) is not Annotated:
        return annotation, None
    kind, *notes = get_args(annotation)
    return kind, next((note for note in notes if isinstance(note, Range)), None)
