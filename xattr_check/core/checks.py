"""An axiom: what must hold of an attribution, how it is measured, and where the line is."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor

from xattr_check.core.explainer import Explainer
from xattr_check.core.figure import Lines
from xattr_check.core.ranges import Range, bare
from xattr_check.core.run import Budget, Draw, Run
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.statistics.betting import guarded
from xattr_check.statistics.gate import AtMost, Beats, Gate, Judgement, Shortfall
from xattr_check.statistics.intervals import (
    ERROR_RATE,
    Interval,
    Statistic,
    bootstrap_interval,
    exact,
    mean_interval,
    skewed_high,
)
from xattr_check.statistics.shares import rows_to_decide, share_interval

# In which order they are told; one of another package comes after them.
FAMILIES = (
    *("contract", "generated", "exact", "sanity", "faithfulness", "retraining"),
    *("localisation", "relative", "variance", "stability", "cost"),
)

# What a number may be whose range a check does not tell.
ABOVE_0 = Range(0, without=frozenset({0}))


@dataclass(frozen=True)
class Measurement:
    """What a check saw in one draw.

    samples: (n,) or (n, k) float64, one row for each independent unit, an input as a rule.
    finding: what was seen, in words, where the number alone does not tell.
    evidence: tensors beside the number, those of pictures among them.
    lines: what was measured along an axis, for the report.
    passes: how many a row took through the model, where a quick run should not go on whatever that costs.
    best: (n,) the best that any map could reach, where that is known to be less than the bounds of the check.
    uninformative: why a pass would say nothing about the map, or an empty string.
    ask: parameters of the check under which its controls may separate where they do not.
    example: a program that shows what was found, and runs by itself.
    """

    samples: Tensor
    finding: str = ""
    evidence: Mapping[str, Tensor] = field(default_factory=dict)
    lines: Lines | None = None
    passes: float = 0.0
    best: Tensor | None = None
    uninformative: str = ""
    ask: Mapping[str, object] = field(default_factory=dict)
    example: str = ""


Rows = Literal["numbers", "shares"]
Measure = Callable[..., Measurement]  # (Explainer, Subject, Draw, *, parameters)
Derive = Callable[[Subject, Run], Subject]


@dataclass(frozen=True, eq=False)
class Axiom:
    """One check.

    statement: what must hold, in one sentence.
    family: the group it is reported in.
    gate: where the statistic must lie.
    cites: where it comes from.
    reads: what follows the number in the sentence of a verdict: "0.41 [0.37, 0.45] `reads`". Of a parameter
        that `words` names, `{parameter}` stands for its value.
    words: how values of parameters are put in `reads`; one that is not among them is put as it is.
    unit: the word that may follow a number in a gate that a user gives: `200 forwards`.
    claimed: whether it gates only the methods that claim it.
    claim: what they claim then, where that is another check's name.
    advisory: what a subject has to offer for the verdict to gate, and why it is only advice without it.
    statistic: `mean` and `max` of the rows, or a function of them; `max` is exact and takes one draw.
    bounds: between which the statistic and each row lie, whatever the method; intervals are told within them,
        know what a rare row could be, and a Beats gate takes its margin from the better end.
    rows: `shares` where each is 0 or 1 and follows from an input alone: their mean has an exact interval, and
        there are no more of them than inputs. `numbers` where they are spread between the bounds.
    needs: what a subject must offer.
    on: turns the subject into the one that is measured on, on the run's device, such as one with inputs made
        for its model; None for the subject itself. Asked once in a run; raises Undefined or Invalid. The
        first line of its docstring says what it makes.
    presumes: checks that must not fail, nor be invalid or undecided, for a pass of this one to mean anything;
        else the verdict is not_applicable. They are judged only for a method that would pass.
    negative, positive: controls that must fail and pass the gate, or else the check is invalid.
        With a Beats gate the negative ones are what has to be beaten instead; none named: all controls
        that the subject allows.
    witness: a method that measures what single parts of an input do. Where it fails the bound, a method fails
        only if it is beyond the witness: of parts, what is certified of a whole need not be true.
    cost: the smallest budget that includes it.
    inputs, then: how many inputs the first draw takes, and each of the others; as many where it is 0.
    parameters: keyword parameters of `measure` that are not what they are by default.
    """

    name: str
    statement: str
    family: str
    gate: Gate
    measure: Measure
    cites: str = ""
    reads: str = ""
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unit: str = ""
    claimed: bool = False
    claim: str = ""
    advisory: Mapping[str, str] = field(default_factory=dict)
    statistic: Literal["mean", "max"] | Statistic = "mean"
    bounds: tuple[float, float] = (-math.inf, math.inf)
    rows: Rows = "numbers"
    needs: frozenset[str] = frozenset()
    on: Derive | None = None
    presumes: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    witness: str = ""
    cost: Budget = "quick"
    inputs: int = 32
    then: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.gate, Beats) and not math.isfinite(self.ceiling):
            side = 1 if self.gate.better == "higher" else 0
            raise UsageError(
                option="check",
                value=self.name,
                expected="bounds, since its margin over controls is a share of the way to the best of all",
                came=f"bounds[{side}] = {self.ceiling}",
                hint="say between which the statistic lies, such as bounds=(0, 1)",
            )

    def __repr__(self) -> str:
        return f"<Axiom {self.name}>"

    def __call__(self, method: Explainer, subject: Subject, draw: Draw) -> Measurement:
        """Measure one draw."""
        with draw.scope():
            return self.measure(method, subject, draw, **self.parameters)

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """What `with_parameters` may set, by name."""
        return dict(list(inspect.signature(self.measure).parameters.items())[3:])

    def with_parameters(self, parameters: Mapping[str, Any]) -> "Axiom":
        """The check with keyword parameters of its own, which its name then tells: `deletion?fill=blur`.

        Raises UsageError for a parameter or a value that there is not.
        """
        options = self.options
        for name in parameters:
            if name not in options:
                known = ", ".join(options) or "none"
                problem = f"no parameter {name!r}, it has {known}"
                raise UsageError(problem, option="check", value=self.name)
        given = {
            name: _value_of(self.name, options[name], parameters[name])
            for name in options
            if name in parameters
        }
        spec = "&".join(f"{name}={told(value)}" for name, value in given.items())
        return replace(self, name=f"{self.name}?{spec}", parameters=given)

    def reading(self, name: str = "") -> str:
        """What the figure is: `reads`, with the values of its parameters in words.

        name: with those that a name tells, as `road?fill=blur`, in place of the check's own.
        """
        named = name if "?" in name else self.name
        given = dict(part.split("=", 1) for part in named.partition("?")[2].split("&") if "=" in part)
        text = self.reads
        for option, words in self.words.items():
            value = given.get(option, told(self.options[option].default))
            text = text.replace(f"{{{option}}}", words.get(value, value))
        return text

    def value(self, samples: Tensor) -> float:
        """The statistic over the rows of samples."""
        if self.statistic == "max":
            return float(samples.max())
        return float(samples.mean()) if self.statistic == "mean" else self.statistic(samples)

    def estimate(self, samples: Tensor, error_rate: float, *, population: int | None = None) -> Interval:
        """The statistic over the rows of samples, with its interval.

        population: how many rows there are in all, where these were drawn from them; None for no end of them.
        """
        if self.statistic == "max":
            return exact(self.value(samples))
        if self.statistic != "mean":
            return bootstrap_interval(samples, self.statistic, error_rate)
        if self._are_shares(samples):
            return share_interval(samples, error_rate, population)
        return mean_interval(samples, error_rate)

    @property
    def ceiling(self) -> float:
        """The best that the statistic may be, by its bounds."""
        return self.bounds[1] if self.gate.better == "higher" else self.bounds[0]

    def guard(self, interval: Interval, samples: Tensor, paired: bool) -> Interval:
        """The interval of a mean with room for rare rows that were not seen.

        paired: whether the rows are differences from those of a control, above which it is no better. Below
        are bets; above, of the little by which it may be better, they tell nothing from a hundred rows, and
        the skewness of those has to do.
        """
        if self.statistic != "mean" or (self._are_shares(samples) and not paired):
            return interval
        low, high = self.bounds
        if not paired:
            return guarded(interval, samples, (low, high))
        below = guarded(interval, samples, (low - high, high - low)).low
        return replace(interval, low=below, high=skewed_high(interval, samples))

    def shortfall(
        self, judgement: Judgement, samples: Tensor, population: int | None = None
    ) -> Shortfall | None:
        """What an undecided judgement of all samples lacks; None where nothing does, or no number tells.

        population: as for `estimate`. All rows that there are decide about a share of them.
        """
        lacks = judgement.shortfall(len(samples))
        if lacks is None or self.gate.bound is None or not self._are_shares(samples):
            return lacks
        rows = rows_to_decide(self.value(samples), judgement.line, ERROR_RATE)
        enough = population if population is not None and population > len(samples) else math.inf
        return replace(lacks, rows=min(rows, enough))

    def _are_shares(self, samples: Tensor) -> bool:
        # Beside others the rows that are judged are differences, which may be −1 as well.
        alone = self.rows == "shares" and self.gate.bound is not None
        return alone and bool(((samples == 0) | (samples == 1)).all())

    @property
    def sequential(self) -> bool:
        """Whether more draws can make the verdict clearer."""
        return self.statistic != "max"


def _value_of(check: str, option: inspect.Parameter, value: Any) -> Any:
    """The value of a parameter; several whole numbers are joined by `+`, as in `10+50+90`.

    Raises UsageError where it is none of those that a parameter names, not of its kind or out of its range.
    """
    wrong = partial(UsageError, option="check", value=check, came=repr(value))
    if get_origin(option.annotation) is tuple:
        _, allowed = bare(get_args(option.annotation)[0])
        words = value if isinstance(value, tuple) else str(value).split("+")
        if not words or not all(
            str(word).isdecimal() and int(word) in (allowed or ABOVE_0) for word in words
        ):
            raise wrong(expected=f"{option.name} to be whole numbers {allowed or ABOVE_0}, joined by +")
        numbers = tuple(map(int, words))
        if len(set(numbers)) < len(numbers):
            raise wrong(expected=f"{option.name} to be different numbers")
        return numbers
    annotation, own = bare(option.annotation)
    allowed, choices = own or ABOVE_0, get_args(annotation)
    if choices and value not in choices:
        raise wrong(expected=f"{option.name}= one of {', '.join(map(str, choices))}")
    kinds = {int: (int,), float: (int, float)}.get(annotation)
    if kinds and (not isinstance(value, kinds) or isinstance(value, bool) or value not in allowed):
        wanted = "a whole number" if annotation is int else "a number"
        raise wrong(expected=f"{option.name} to be {wanted} {allowed}")
    return value


def told(value: Any) -> str:
    """A value as a spec has it."""
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def stages(on: Derive | None, subject: Subject, run: Run) -> Sequence[Derive | None]:
    """What makes the subject that is measured on, with few inputs first and with more where those do not do.

    Its `stages`, each of which begins with the inputs of the one before; where it has none, itself alone.
    """
    grows: Callable[[Subject, Run], Sequence[Derive]] | None = getattr(on, "stages", None)
    return (on,) if grows is None else grows(subject, run)


def brings(on: Derive) -> frozenset[str]:
    """The names of other inputs that the subjects which it makes have of their own: its `brings`, or none."""
    found: frozenset[str] = getattr(on, "brings", frozenset())
    return found


def axiom(
    *,
    statement: str,
    family: str,
    gate: Gate,
    cites: str = "",
    reads: str = "",
    words: Mapping[str, Mapping[str, str]] | None = None,
    unit: str = "",
    claimed: bool = False,
    claim: str = "",
    advisory: Mapping[str, str] | None = None,
    statistic: Literal["mean", "max"] | Statistic = "mean",
    bounds: tuple[float, float] = (-math.inf, math.inf),
    rows: Rows = "numbers",
    needs: Iterable[str] = (),
    on: Derive | None = None,
    presumes: Iterable[str] = (),
    negative: Iterable[str] = (),
    positive: Iterable[str] = (),
    witness: str = "",
    cost: Budget = "quick",
    inputs: int = 32,
    then: int = 0,
) -> Callable[[Measure], Axiom]:
    """Declare a check; the measuring function's name is the check's, its options are those of `Axiom`."""

    def declare(measure: Measure) -> Axiom:
        return Axiom(
            name=measure.__name__,
            statement=statement,
            family=family,
            gate=gate,
            measure=measure,
            cites=cites,
            reads=reads,
            words=dict(words or {}),
            unit=unit,
            claimed=claimed,
            claim=claim,
            advisory=dict(advisory or {}),
            statistic=statistic,
            bounds=bounds,
            rows=rows,
            needs=frozenset(needs),
            on=on,
            presumes=tuple(presumes),
            negative=tuple(negative),
            positive=tuple(positive),
            witness=witness,
            cost=cost,
            inputs=inputs,
            then=then,
        )

    return declare


def contract(
    *,
    statement: str,
    reads: str = "violations",
    negative: Iterable[str] = (),
    cites: str = "",
    needs: Iterable[str] = (),
    at_most: float = 0.0,
    inputs: int = 8,
) -> Callable[[Measure], Axiom]:
    """Declare a check of the contract: exact, on few inputs, no worse than a bound on any of them."""
    return axiom(
        statement=statement,
        family="contract",
        gate=AtMost(at_most),
        reads=reads,
        statistic="max",
        negative=negative,
        cites=cites,
        needs=needs,
        inputs=inputs,
    )


def violation(finding: str) -> Measurement:
    """One violation of the contract, with what was seen; none where the finding is empty."""
    return Measurement(torch.tensor([float(bool(finding))], dtype=torch.float64), finding)
