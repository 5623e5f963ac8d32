"""Verdicts: what the battery says, as an object, a sentence and a record."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor

from xattr_check.core.figure import Figure
from xattr_check.statistics.gate import Gate, Reaches, Shortfall
from xattr_check.statistics.intervals import Interval

Status = Literal["pass", "fail", "undecided", "invalid", "not_applicable", "error", "xfail", "xpass"]


@dataclass(frozen=True)
class Key:
    """What a verdict is on: a subject, a method and a check, each by its name."""

    subject: str
    method: str
    check: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Key":
        """That of a record."""
        return cls(record["subject"], record["method"], record["check"])


@dataclass(frozen=True)
class Drawn:
    """What was measured in one draw.

    rows: (n,) or (n, k) float64, one row for each independent unit. controls: the statistic of each.
    """

    rows: Tensor
    controls: Mapping[str, float]


def of_gate(gate: Gate) -> dict[str, Any]:
    """The fields of a verdict that say where its gate is."""
    bound = gate.bound
    return {
        "gate": str(gate),
        "bound": bound if bound is not None and math.isfinite(bound) else None,
        "beats": bound is None and not gate.references,
        "references": gate.references,
        "better": gate.better,
        "scale": gate.scale,
        "reaches": isinstance(gate, Reaches),
    }


@dataclass(frozen=True)
class Verdict:
    """The result of one check of one method on one subject.

    status: pass, fail, undecided (the interval still straddles the gate at the end of the budget), invalid
        (the controls do not separate here), not_applicable, error (the method broke its contract), or
        xfail and xpass, where a failure was expected.
    sentence: what was seen, without the names and figures of the other fields; `str(verdict)` has them all.
    continues: whether the sentence goes on from the figure, "0.41 [0.37, 0.45] of the …", or stands alone.
    gate: in words. bound: where the statistic has to lie; None where it is held against others, or nothing.
    beats: whether controls are to be beaten. references: those of controls that it may not be worse than.
    interval: the statistic with its confidence interval, None where nothing was measured.
    shortfall: what an undecided verdict lacks, where more rows would decide it.
    controls: the statistic of each control on the same draws. best: the best that any map could reach on
        them, of which a margin over controls is a share; None where nothing was measured.
    required: whether it gates; an exact axiom that the method does not claim is only reported.
    advisory: why it is only advice here, where that is so.
    lacks: what the check needs that the subject could be given, and was not.
    n: independent units measured; seconds: time taken.
    evidence: tensors beside the figure, those of pictures among them. names: of the features of each row of
        these, in words, where the subject has any.
    trace: the frames of the method that raised, as Python prints them; of a failure that one network shows, a
        program that makes it.
    better: which figures are better. scale: the gate's bound, its margin beside
        references, or its share of the way from a control to the best. reaches: whether it is a share of
        what a reference comes to.
    fingerprint, code: digests of the subject and of the check's source.
    draws: what was measured, by the seed of each draw; two runs are compared on those that both have.
    figure: what was measured along an axis, where the check has one.
    """

    method: str
    subject: str
    check: str
    family: str
    status: Status
    sentence: str
    gate: str
    interval: Interval | None = None
    continues: bool = False
    bound: float | None = None
    beats: bool = False
    references: tuple[str, ...] = ()
    shortfall: Shortfall | None = None
    controls: Mapping[str, float] = field(default_factory=dict)
    best: float | None = None
    required: bool = True
    advisory: str = ""
    lacks: tuple[str, ...] = ()
    n: int = 0
    seconds: float = 0.0
    evidence: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    names: Sequence[Sequence[str]] = field(default=(), repr=False)
    trace: str = field(default="", repr=False)
    better: Literal["lower", "higher"] = "lower"
    scale: float = 0.0
    reaches: bool = False
    fingerprint: str = ""
    code: str = ""
    draws: Mapping[str, Drawn] = field(default_factory=dict, repr=False)
    figure: Figure | None = field(default=None, repr=False)

    @property
    def failed(self) -> bool:
        """Whether a gate must close on it."""
        return self.status in ("error", "xpass") or (self.status == "fail" and self.required)

    @property
    def unclear(self) -> bool:
        """Whether nothing was decided that could have been."""
        return self.status in ("undecided", "invalid")

    @property
    def excused(self) -> bool:
        """Whether it failed where it does not gate: the check is not claimed, or only advice."""
        return self.status == "fail" and not self.required

    @property
    def ungated(self) -> bool:
        """Whether the check has no gate: its figure is reported, and passes."""
        return self.bound is None and not self.beats and not self.references

    @property
    def figure_text(self) -> str:
        """The statistic with its interval, or an empty string where it says nothing, as of the contract."""
        return "" if self.interval is None or self.family == "contract" else str(self.interval)

    @property
    def text(self) -> str:
        """The sentence with the figure that it goes on from."""
        figure = f"{self.interval} " if self.continues and self.interval is not None else ""
        return f"{figure}{self.sentence}"

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"

    @property
    def key(self) -> Key:
        """What it is on."""
        return Key(self.subject, self.method, self.check)

    @property
    def node_id(self) -> str:
        """How pytest names it in a run of one subject."""
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
            "advisory": self.advisory,
            "lacks": list(self.lacks),
            "statistic": None if interval is None else _number(interval.value),
            "interval": None if interval is None else [_number(interval.low), _number(interval.high)],
            "gate": self.gate,
            "sentence": self.sentence,
            "controls": {name: _number(value) for name, value in self.controls.items()},
            "n": self.n,
            "seconds": round(self.seconds, 3),
            "better": self.better,
            "scale": self.scale,
            "reaches": self.reaches,
            "fingerprint": self.fingerprint,
            "code": self.code,
            "draws": {
                seed: {
                    "rows": _rounded(draw.rows),
                    "controls": {name: _number(value) for name, value in draw.controls.items()},
                }
                for seed, draw in self.draws.items()
            },
            "figure": None if self.figure is None else self.figure.record(),
            "bound": self.bound,
            "best": self.best,
            "beats": self.beats,
            "references": list(self.references),
            "continues": self.continues,
            "shortfall": None if self.shortfall is None else _shortfall(self.shortfall),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Verdict":
        """The verdict that a record tells of, without its evidence; what was not finite is NaN again.

        Of a record of a later version, what is not known is left out.
        """
        names = {item.name for item in fields(cls)} - {"interval", "figure", "shortfall"}
        known = {key: value for key, value in record.items() if key in names}
        interval = None
        if record["interval"] is not None:
            ends = (record["statistic"], *record["interval"])
            interval = Interval(*(math.nan if end is None else end for end in ends))
        draws = {
            seed: Drawn(torch.tensor(_finite(draw["rows"]), dtype=torch.float64), _read(draw["controls"]))
            for seed, draw in record.get("draws", {}).items()
        }
        figure = None if record.get("figure") is None else Figure.from_record(record["figure"])
        lacks = record.get("shortfall")
        known |= {"controls": _read(record["controls"]), "draws": draws, "figure": figure}
        known["lacks"] = tuple(record.get("lacks", ()))
        known["references"] = tuple(record.get("references", ()))
        known["shortfall"] = None if lacks is None else Shortfall(**_read(lacks, math.inf))
        return cls(**known, interval=interval)


def _shortfall(lacks: Shortfall) -> dict[str, float | None]:
    return {name: _number(value) for name, value in asdict(lacks).items()}


def _read(figures: Mapping[str, float | None], missing: float = math.nan) -> dict[str, float]:
    return {name: missing if value is None else float(value) for name, value in figures.items()}


def _finite(rows: Any) -> Any:
    """Nested lists with NaN for None."""
    if isinstance(rows, list):
        return [_finite(row) for row in rows]
    return math.nan if rows is None else rows


def _rounded(rows: Tensor) -> Any:
    """Nested lists of rows, in nine digits; what is not finite is None."""
    if rows.ndim > 1:
        return [_rounded(row) for row in rows]
    return [_number(float(f"{value:.9g}")) for value in rows.tolist()]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
