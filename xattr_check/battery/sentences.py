"""What a verdict says, in words."""

import inspect
import math
import traceback
from pathlib import Path

from xattr_check.core.arrays import Caller
from xattr_check.core.checks import Axiom
from xattr_check.core.method import Method
from xattr_check.core.run import BUDGETS, Run
from xattr_check.core.subject import Subject
from xattr_check.statistics.gate import Gate, Judgement, Shortfall
from xattr_check.storage.sources import ENGINE, package_of

# More rows than that are as good as none.
MOST = 100_000
# Where the frames of a method begin, directly or with arrays for tensors.
CALLER, CONVERTER = Method.__call__.__code__.co_filename, Caller.__call__.__code__.co_filename


def figures(check: Axiom, judgement: Judgement, gate: Gate) -> str:
    """What follows the statistic: what it is, how it stands to the control that decided, and the gate."""
    text = check.reads
    if judgement.difference is not None:
        better = judgement.difference
        word, shown = ("better", better) if better.value >= 0 else ("worse", -better)
        text += f", {shown} {word} than control {judgement.rival!r}"
    return f"{text} (gate {gate})".lstrip()


def missing(shortfall: Shortfall | None, given: Subject, measured: Subject, run: Run) -> str:
    """Why nothing is decided, after how much, and what would decide.

    measured: what the check made of the subject that was given.
    """
    spent = f"not clear after {_describe_spent(given, measured, run)}"
    if shortfall is None:
        return spent
    enough = "no number of rows that can be had would decide"
    if shortfall.rows <= MOST:
        enough = f"about {_rounded(shortfall.rows)} rows would decide"
    known = f"{shortfall.gap:.2g} from the gate and known to ± {shortfall.half_width:.2g}"
    return f"{known}, {enough}; {spent}"


def _rounded(rows: float) -> str:
    """A number of rows in two digits, upwards: it is an estimate."""
    step = 10 ** max(0, math.floor(math.log10(rows)) - 1)
    return str(math.ceil(rows / step) * step)


def _describe_spent(given: Subject, measured: Subject, run: Run) -> str:
    """How much was drawn, and what would be more."""
    drawn, there = min(run.limit, len(measured.inputs)), len(measured.inputs)
    if drawn < there:
        return f"{drawn} inputs, try a larger --xattr-budget"
    if measured.inputs is given.inputs:
        return f"all {there} inputs of the subject, give it more"
    larger = [name for name, limit in BUDGETS.items() if limit > run.limit]
    made = larger and not given.generated  # what ships with a subject is all there is
    advice = f"; --xattr-budget={larger[0]} makes more" if made else ""
    return f"all {there} generated inputs{advice}"


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
