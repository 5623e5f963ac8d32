"""Controls: what is measured beside a method, on the same draws, and whether it comes out as it must."""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xattr_check.core.checks import Axiom
from xattr_check.core.explainer import Explainer
from xattr_check.core.layouts.embeddings import Embeddings
from xattr_check.core.method import MEAN, Method
from xattr_check.core.run import Draw, Run
from xattr_check.core.subject import Subject
from xattr_check.errors import MethodError, Undefined
from xattr_check.statistics.gate import AtLeast, AtMost, Beats, Gate, Reaches
from xattr_check.statistics.intervals import Interval, exact
from xattr_check.storage.sources import source_digest

# Of the span of the bounds: where less lies between a control and the best, no map could be told from it.
LEAST_WAY = 0.01
# Methods that ask the model, from the cheapest on: what none of them beats is no control on a subject.
ASKING = ("gradient", "input_x_gradient", "integrated_gradients", "occlusion")


class ControlError(Exception):
    """A control could not be measured; carries what happened to which."""


@dataclass(eq=False)
class Controls:
    """The controls of one check on one subject, over all draws.

    known: methods by name, controls and others; check, gate and subject say which of them are measured.
    sensitivity: whether the sign of the method is a direction. Of a reference whose sign is one as well, maps
        are read as those of the method, with their signs or as magnitudes.
    samples: rows by control, one tensor for each draw. lines: what was measured along an axis, likewise.
    draws: those that were measured. asked: how many of the references are measured so far. came: what the
        methods that ask the model came to in each draw, as far as they were measured, None where they cannot.
    """

    check: Axiom
    gate: Gate
    subject: Subject
    run: Run
    known: Mapping[str, Method]
    sensitivity: bool = False
    samples: dict[str, list[Tensor]] = field(default_factory=dict)
    lines: dict[str, list[dict[str, Tensor]]] = field(default_factory=dict)
    draws: list[Draw] = field(default_factory=list)
    asked: int = 1
    came: dict[str, list[Tensor] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        allowed = {name: one for name, one in self.known.items() if self._allows(one)}
        if isinstance(self.gate, Beats):
            wanted = {name for name, one in allowed.items() if one.control == "negative"}
            wanted = wanted & set(self.check.negative) if self.check.negative else wanted
        else:
            wanted = set(self.check.negative)
        wanted |= set(self.check.positive)
        # Over the numbers of an embedding a gradient sums up to nothing behind a LayerNorm.
        directions = self.sensitivity or isinstance(self.subject.layout, Embeddings)
        self.methods = [one for name, one in allowed.items() if name in wanted]

        def right(names: Iterable[str]) -> list[Method]:
            known = [allowed[name] for name in names if name in allowed]
            return [replace(one, sensitivity=one.sensitivity and directions) for one in known]

        self.references = right(self.gate.references)
        self.asking = [self._from_mean(one) for one in right(ASKING)]
        # A gate of the user's that has no bound has none to be moved.
        self.witnesses = right([self.check.witness]) if isinstance(self.gate, AtMost | AtLeast) else []

    def _allows(self, control: Method) -> bool:
        """Whether the subject offers what a control needs, and what it knows is true of what is measured.

        A mask that the model need not use says nothing of what the model does, only where it is itself what
        maps are compared with.
        """
        offers, knows = self.subject.offers, control.needs if control.control == "positive" else frozenset()
        idle = "mask" in knows and not ("causal" in offers or "mask" in self.check.needs)
        return control.needs <= offers and not idle

    def _from_mean(self, asking: Method) -> Method:
        """What starts from zero, from the data's mean where that is far from it, as checks do."""
        if not (asking.from_zero and self.subject.far_from_zero):
            return asking
        return asking.with_parameters(f"{asking.name}?baseline={MEAN}", {"baseline": MEAN})

    def measure(self, draw: Draw) -> dict[str, float]:
        """The statistic of each control in a draw, and of the references that are asked so far.

        Raises ControlError where one cannot be measured.
        """
        self.draws.append(draw)
        found = {one.name: self._take(one, draw) for one in self.methods}
        for reference in self.references[: self.asked]:
            with suppress(Undefined):  # as of the gradient of a model that has none
                found[reference.name] = self._take(reference, draw)
        return found

    def ask_another(self) -> bool:
        """Measure the next reference as well, on all draws; whether there was one.

        To be near one of them is enough, and some take a hundred times as long as others.
        """
        waiting = self.references[self.asked : self.asked + 1]
        self.asked += len(waiting)
        for reference in waiting:
            with suppress(Undefined):
                for draw in self.draws:
                    self._take(reference, draw)
        return bool(waiting)

    def _take(self, control: Method, draw: Draw) -> float:
        """Keep the samples and lines of a control in a draw; the statistic of the draw."""
        samples, lines = self._measure(control, draw)
        self.samples.setdefault(control.name, []).append(samples)
        self.lines.setdefault(control.name, []).append(lines)
        return self.check.value(samples)

    def _measure(self, control: Method, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """Samples and lines of a control in a draw, from the store: they are the same for every method."""
        check, subject = self.check, self.subject

        def compute() -> dict[str, Tensor]:
            self.run.progress(f"{check.name}: control {control.name}")
            try:
                found = check(Explainer.of(control, subject, self.run), subject, draw)
            except MethodError as error:
                raise ControlError(f"the control {control.name!r} {error}") from error
            lines = {} if found.lines is None else found.lines.rows
            return {"samples": found.samples.double()} | {
                f"line {name}": rows for name, rows in lines.items()
            }

        code = source_digest(check.measure, control.function)
        found = draw.shared(
            "control",
            compute,
            check=check.name,
            control=control.name,
            sensitivity=control.sensitivity,
            code=code,
        )
        samples = found.pop("samples").cpu()
        return samples, {name.removeprefix("line "): rows for name, rows in found.items()}

    @property
    def joined(self) -> dict[str, Tensor]:
        """Samples over all draws, by control."""
        return {name: torch.cat(parts) for name, parts in self.samples.items()}

    @property
    def figures(self) -> dict[str, float]:
        """The statistic over all draws, by control."""
        return {name: self.check.value(samples) for name, samples in self.joined.items()}

    @property
    def rivals(self) -> dict[str, Tensor]:
        """Samples of what the gate holds the method against: the references, or the negative controls."""
        if self.gate.references:
            against = {one.name for one in self.references}
        else:
            against = {one.name for one in self.methods if one.control == "negative"}
        # A reference that could not be measured in some draw has no rows beside the method's.
        whole = {name for name in against if len(self.samples.get(name, ())) == len(self.draws)}
        return {name: samples for name, samples in self.joined.items() if name in whole}

    def unbeatable(self, best: Tensor) -> dict[str, str]:
        """The controls that no map could beat, and why, by name.

        best: (n,) or (1,) the best that any map could reach.
        """
        if not isinstance(self.gate, Beats):
            return {}
        low, high = self.check.bounds
        least = LEAST_WAY * (high - low) if math.isfinite(high - low) else 0.0
        sign, ceiling = (-1 if self.gate.lower else 1), float(best.mean())
        values = {name: float(rows.mean()) for name, rows in self.rivals.items()}
        found = {}
        for name, value in values.items():
            told = f"the control {name!r} comes to {value:.3g}, and the best to {ceiling:.3g}"
            if sign * (ceiling - value) <= 0:
                found[name] = f"no map is known to pass: {told} (gate {self.gate})"
            elif sign * (ceiling - value) <= least:
                found[name] = f"no map is known to pass: {told}, nearer than {least:.2g} (gate {self.gate})"
        return found

    def unbeaten(self, best: Tensor) -> dict[str, str]:
        """The controls that no method beats which asks the model, on the draws so far, and why, by name.

        Where what is bright is what counts, brightness is a right answer, and not to beat it is no fault,
        though the truth may. Nothing where no such method can be asked, of what only those are held to who
        promise it, and where each would cost networks of its own.

        best: as for `unbeatable`.
        """
        if not isinstance(self.gate, Beats) or self.check.claimed or self.check.on is not None:
            return {}
        left, came = self._asked(self.gate, best, self.rivals)
        told = ", ".join(f"{name} to {value:.3g}" for name, value in came.items())
        return {
            name: f"no method that asks the model beats the control {name!r}: it comes to "
            f"{self.figures[name]:.3g}, and {told} (gate {self.gate})"
            for name in left
            if came
        }

    def untold(self, best: Tensor) -> dict[str, str]:
        """The controls that a map of the truth does not beat, nor a method that asks the model; why, by name.

        A mask is the same everywhere on what it shows, so that a map may well do better. best: as for
        `unbeatable`.
        """
        if not isinstance(self.gate, Beats):
            return {}
        found: dict[str, str] = {}
        joined, rivals = self.joined, self.rivals
        for knows in sorted(set(self.check.positive) & set(joined)):
            for name, rows in rivals.items():
                judged = self.gate.judge(joined[knows], {name: rows}, self.check.estimate, best=best)
                if judged.difference is not None and judged.difference.value <= judged.line:
                    found[name] = (
                        f"the control {knows!r}, which knows the truth, does not beat {name!r}: "
                        f"{judged.difference} (gate {self.gate})"
                    )
        left = self._asked(self.gate, best, found)[0] if found and self.check.on is None else found
        return {name: found[name] for name in left}

    def _asked(self, gate: Beats, best: Tensor, rivals: Iterable[str]) -> tuple[set[str], dict[str, float]]:
        """Which rivals no method beats that asks the model, on the draws so far, and what these come to.

        By a standard error more than the gate asks for: to be as good by chance beats nothing.
        """
        sign, own = -1 if gate.lower else 1, self.check.gate
        # Whether a control can be beaten is the check's to say: a stricter gate of the user's fails more.
        least = replace(gate, by=min(gate.by, own.by)) if isinstance(own, Beats) else gate
        joined = self.joined
        left = {name: joined[name] for name in rivals}
        came: dict[str, float] = {}
        for one in self.asking:
            if not left:
                break
            if (rows := self._so_far(one)) is not None:
                came[one.name] = self.check.value(rows)
                left = {
                    name: rival
                    for name, rival in left.items()
                    if not _clearly_above(sign * (rows - least.ahead(rival, best)))
                }
        return set(left), came

    def _so_far(self, asking: Method) -> Tensor | None:
        """Samples of a method on the draws so far, each taken once; None where there are none."""
        rows = self.came.setdefault(asking.name, [])
        if rows is not None:
            try:
                rows += [self._measure(asking, draw)[0] for draw in self.draws[len(rows) :]]
            except (Undefined, ControlError):
                self.came[asking.name] = rows = None
        return None if rows is None else torch.cat(rows)

    def witnessed(self) -> dict[str, float]:
        """What the check's witness comes to in the first draw, by name, where that is beyond both bounds."""
        found: dict[str, float] = {}
        for one in self.witnesses:
            with suppress(Undefined, ControlError):
                value = self.check.value(self._measure(one, self.draws[0])[0])
                point = torch.tensor([value]).double()
                # By the check's own bound as well: one of the user's may be less than what parts do anywhere.
                if {gate.judge(point, {}, _point).outcome for gate in (self.check.gate, self.gate)} == {
                    "fail"
                }:
                    found[one.name] = value
        return found

    def fault(self) -> str:
        """Why the controls do not separate by a bound or a reference, or an empty string."""
        check, joined = self.check, self.joined
        if isinstance(self.gate, Beats):  # see `untold`
            return ""
        if isinstance(self.gate, Reaches):
            least = self.gate.least
            for name, rows in self.rivals.items():
                if (value := check.value(rows)) < least:
                    return (
                        f"the reference {name!r} comes to {value:.3g}, and has to come to {least:g} for a "
                        f"share of it to tell anything (gate {self.gate})"
                    )
        for name in (*check.negative, *check.positive):
            if name not in joined:
                continue
            value = check.value(joined[name])
            rivals = {one: rows.mean(0, keepdim=True) for one, rows in self.rivals.items()}
            outcome = self.gate.judge(torch.tensor([value]).double(), rivals, _point).outcome
            wanted = "fail" if name in check.negative else "pass"
            if outcome != wanted:
                return f"the control {name!r} has to {wanted} and does not: {value:.3g} (gate {self.gate})"
        return ""


def _clearly_above(rows: Tensor) -> bool:
    """Whether the mean of rows (n,) is above zero by more than its standard error."""
    error = float(rows.std()) / math.sqrt(len(rows)) if len(rows) > 1 else 0.0
    return float(rows.mean()) > error


def _point(samples: Tensor, error_rate: float) -> Interval:
    return exact(float(samples.mean()))
