"""What a verdict says, in words."""

import inspect
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from xattr_check.core.arrays import Caller
from xattr_check.core.checks import Axiom
from xattr_check.core.method import MEAN, Method
from xattr_check.core.run import BUDGETS, Run
from xattr_check.core.subject import Subject
from xattr_check.errors import Undefined
from xattr_check.statistics.gate import Gate, Judgement, Shortfall
from xattr_check.storage.sources import ENGINE, package_of

# No budget draws more inputs.
MOST = max(BUDGETS.values())
# Where the frames of a method begin, directly or with arrays for tensors.
CALLER, CONVERTER = Method.__call__.__code__.co_filename, Caller.__call__.__code__.co_filename


def figures(check: Axiom, judgement: Judgement, gate: Gate) -> str:
    """What follows the statistic: what it is, how it stands to the control that decided, and the gate."""
    text = check.reading()
    if judgement.difference is not None:
        better = judgement.difference
        word, shown = ("better", better) if better.value >= 0 else ("worse", -better)
        kind = "reference" if gate.references else "control"
        text += f", {shown} {word} than {kind} {judgement.rival!r}"
    # A share of the way is another number on every subject.
    here = "" if gate.bound is not None or gate.references else f", here {judgement.line:.2g}"
    return f"{text} (gate {gate}{here})".lstrip()


def undefined(check: Axiom, error: Undefined) -> str:
    """Why a check says nothing, and which variant of it would."""
    return f"{error}{_variant(check, error.ask)}"


def invalid(check: Axiom, reason: object, subject: str, ask: Mapping[str, object]) -> str:
    """Why the figures of a check say nothing about a subject, and which variant may say more."""
    return f"{reason}; the check says nothing about {subject!r}{_variant(check, ask)}"


def started(check: Axiom, ask: Mapping[str, object], method: str = "") -> str:
    """That a method measures from zero, and a check removes to the data's mean.

    method: its spec, where it has a baseline that can be given; else that is known of its maps.
    """
    if method:
        known, joined = "its baseline is zero", "&" if "?" in method else "?"
        remedy = f"ask {method}{joined}baseline={MEAN}"
    else:
        known = "its maps sum to what the output changes by from zero"
        remedy = "give the method that mean for its baseline"
    other = _variant(check, ask, ", or " if method else ", or ask ")
    return f"{known}, and what is removed here becomes the data's mean: {remedy}{other}"


def _variant(check: Axiom, ask: Mapping[str, object], words: str = ": ask ") -> str:
    """What to ask for instead, where that is something."""
    if not ask:
        return ""
    plain = replace(check, name=check.name.partition("?")[0], parameters={})
    return f"{words}{plain.with_parameters({**check.parameters, **ask}).name}"


@dataclass(frozen=True)
class Spent:
    """What a judgement rests on.

    rows: how many independent units. inputs: how many inputs were drawn for them.
    given, measured: the subject, and what the check made of it.
    """

    rows: int
    inputs: int
    given: Subject
    measured: Subject
    run: Run

    def __str__(self) -> str:
        return _counted(self.rows, self.inputs)


def _counted(rows: int, inputs: int) -> str:
    return f"{inputs} inputs" if rows == inputs else f"{rows} rows from {inputs} inputs"


def missing(shortfall: Shortfall | None, spent: Spent) -> str:
    """How far an undecided figure is from the gate, and what would decide it."""
    if shortfall is None:
        return f"not clear after {spent}; {_advise(None, spent)}"
    known = f"{shortfall.gap:.2g} from the gate and known to ± {shortfall.half_width:.2g} after {spent}"
    inputs = shortfall.rows * spent.inputs / spent.rows
    if inputs > MOST:
        return f"{known}; if it is as close to the gate as that, no budget decides"
    # An estimate, of two digits; more than there were in any case, since these did not do.
    needed = max(_rounded(inputs), spent.inputs + 1)
    rows = math.ceil(needed * spent.rows / spent.inputs)
    return f"{known}; about {_counted(rows, needed)} would decide: {_advise(needed, spent)}"


def cut(passes: float, *, required: bool) -> str:
    """Why a quick run has one draw of a check, of a method of so many passes a map."""
    told = f"a quick run stops at one draw of a method of {passes:.0f} passes a map"
    return told if required else f"{told} that does not claim what is checked"


def _rounded(number: float) -> int:
    """A number in two digits, upwards."""
    step: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / step) * step


def _advise(needed: int | None, spent: Spent) -> str:
    """What to do for so many inputs, or for more than there were."""
    there = len(spent.measured.inputs)
    larger = [name for name, limit in BUDGETS.items() if limit > spent.run.limit]
    enough = next((name for name in larger if needed is not None and BUDGETS[name] >= needed), None)
    budget = f"--xattr-budget={enough or next(iter(larger), '')}"
    if spent.measured.inputs is spent.given.inputs:
        if spent.inputs < there and (needed is None or needed <= there):
            return f"try {budget}" if larger else "no budget draws more"
        more = f"give the subject more than its {there} inputs"
        if larger and needed is not None and needed > spent.run.limit:
            return f"{more}, and try {budget}"
        return more
    if spent.given.generated:  # what ships with a subject is all there is
        enough_there = spent.inputs < there and (needed is None or needed <= there)
        return f"try {budget}" if enough_there and larger else f"there are {there} generated inputs"
    return f"{budget} makes more of the {there} generated inputs" if larger else "no budget makes more"


def own_frames(error: BaseException | None, measure: object) -> str:
    """The traceback of an exception from where the method was called on, or an empty string.

    The frames before are the engine's and those of the package that declares the check.
    """
    if error is None:
        return ""
    source = Path(inspect.getsourcefile(measure) or "")  # type: ignore[arg-type]
    folders = (ENGINE, package_of(source) or source.parent)
    frames = traceback.extract_tb(error.__traceback__)
    start = 0
    for number, frame in enumerate(frames, start=1):
        if not any(Path(frame.filename).is_relative_to(folder) for folder in folders):
            break
        if (frame.filename, frame.name) == (CALLER, "__call__") or frame.filename == CONVERTER:
            start = number
    lines = [*traceback.format_list(frames[start:]), *traceback.format_exception_only(error)]
    return "Traceback of the method (most recent call last):\n" + "".join(lines).rstrip()
