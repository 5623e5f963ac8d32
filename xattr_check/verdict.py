"""Verdicts: what the battery says, as an object, a sentence and a record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from xattr_check.intervals import Interval

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
    n: independent units measured; seconds: time taken.
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
    n: int = 0
    seconds: float = 0.0
    evidence: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def failed(self) -> bool:
        """Whether a gate must close on it."""
        return self.status in ("error", "xpass") or (self.status == "fail" and self.required)

    @property
    def node_id(self) -> str:
        """How pytest names it."""
        return f"xattr::{self.method}::{self.check}"

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
            "statistic": None if interval is None else _number(interval.value),
            "interval": None if interval is None else [_number(interval.low), _number(interval.high)],
            "gate": self.gate,
            "sentence": self.sentence,
            "controls": {name: _number(value) for name, value in self.controls.items()},
            "n": self.n,
            "seconds": round(self.seconds, 3),
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
