"""Verdicts: what the battery says, as an object, a sentence and a record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from xattr_check.intervals import Interval

if TYPE_CHECKING:
    from PIL.Image import Image

Status = Literal["pass", "fail", "undecided", "invalid", "not_applicable", "error", "xfail", "xpass"]


@dataclass(frozen=True)
class Verdict:
    """The result of one check of one method on one subject.

    status: pass, fail, undecided (the interval still straddles the gate at the end of the budget), invalid
        (the controls do not separate here), not_applicable, error (the method broke its contract), or
        xfail and xpass, where a failure was expected.
    interval: the statistic with its confidence interval, None where nothing was measured.
    controls: the statistic of each control on the same draws.
    required: whether it gates; an exact axiom that the method does not claim is only reported.
    advisory: why it is only advice here, where that is so.
    n: independent units measured; seconds: time taken.
    trace: the frames of the method that raised, as Python prints them.
    """

    method: str
    subject: str
    check: str
    family: str
    status: Status
    sentence: str
    gate: str
    interval: Interval | None = None
    controls: Mapping[str, float] = field(default_factory=dict)
    required: bool = True
    advisory: str = ""
    n: int = 0
    seconds: float = 0.0
    evidence: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    trace: str = field(default="", repr=False)

    @property
    def failed(self) -> bool:
        """Whether a gate must close on it."""
        return self.status in ("error", "xpass") or (self.status == "fail" and self.required)

    @property
    def node_id(self) -> str:
        """How pytest names it."""
        return f"xattr::{self.method}::{self.check}"

    @property
    def picture(self) -> "Image | None":
        """Inputs and maps of the first samples, None where the evidence holds none.

        Raises ValueError where a tensor of the evidence has another shape than its name says.
        """
        from xattr_check import pictures  # only who looks at pictures waits for Pillow

        title = f"{self.check} of {self.method} on {self.subject}: {self.status.replace('_', ' ')}"
        return pictures.sheet(self.evidence, title, self.sentence)

    def record(self) -> dict[str, Any]:
        """The verdict as JSON types; numbers that are not finite become None."""
        interval = self.interval
        return {
            "method": self.method,
            "subject": self.subject,
            "check": self.check,
            "family": self.family,
            "status": self.status,
            "required": self.required,
            "advisory": self.advisory,
            "statistic": None if interval is None else _number(interval.value),
            "interval": None if interval is None else [_number(interval.low), _number(interval.high)],
            "gate": self.gate,
            "sentence": self.sentence,
            "controls": {name: _number(value) for name, value in self.controls.items()},
            "n": self.n,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Verdict":
        """The verdict that a record tells of, without its evidence; what was not finite is NaN again."""
        known = {key: value for key, value in record.items() if key not in ("statistic", "interval")}
        interval = None
        if record["interval"] is not None:
            ends = (record["statistic"], *record["interval"])
            interval = Interval(*(math.nan if end is None else end for end in ends))
        controls = {name: math.nan if value is None else value for name, value in known["controls"].items()}
        return cls(**{**known, "controls": controls}, interval=interval)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
