"""The battery: methods × checks × subjects, judged one by one."""

import inspect
import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from xattr_check import registry
from xattr_check.arrays import Caller
from xattr_check.axiom import Axiom, Invalid, Measurement, Undefined
from xattr_check.digest import digest
from xattr_check.errors import MethodError
from xattr_check.explainer import Explainer
from xattr_check.gate import Beats, Gate, Judgement
from xattr_check.intervals import Interval, exact
from xattr_check.lines import Lines, figure
from xattr_check.method import Method
from xattr_check.run import BUDGETS, Draw, Run
from xattr_check.sources import source_digest
from xattr_check.subject import Subject
from xattr_check.verdict import Drawn, Status, Verdict

# So many inputs are kept for a picture of the worst.
WORST = 4
# Where the frames of a method begin, directly or with arrays for tensors.
CALLER, CONVERTER = Method.__call__.__code__.co_filename, Caller.__call__.__code__.co_filename


@dataclass(frozen=True, eq=False)
class Item:
    """One method against one check on one subject.

    gate: replaces the check's own where given.
    presumed_gates: replace those of checks that this one presumes, by name.
    claims: exact axioms that the method is held to besides its own claims.
    expected_failure: the reason, where this method is known to fail this check.
    """

    method: Method
    check: Axiom
    subject: Subject
    gate: Gate | None = None
    presumed_gates: Mapping[str, Gate] = field(default_factory=dict)
    claims: frozenset[str] = frozenset()
    expected_failure: str | None = None

    @property
    def required(self) -> bool:
        """Whether the verdict gates: always where it is claimed, else unless it has to be, or is advice."""
        claimed = self.check.name in self.method.claims | self.claims
        return claimed or not (self.check.claimed or self.advisory)

    @property
    def advisory(self) -> str:
        """Why the verdict is only advice on this subject, or an empty string."""
        offers = self.subject.offers
        return next((why for what, why in self.check.advisory.items() if what not in offers), "")

    def judge(self, run: Run) -> Verdict:
        """Measure until the verdict is clear or the budget is spent."""
        started = time.perf_counter()
        verdict = _Judge(self, run).verdict()
        if self.expected_failure is not None:
            verdict = _expect(verdict, self.expected_failure)
        return replace(verdict, seconds=time.perf_counter() - started)


def _expect(verdict: Verdict, reason: str) -> Verdict:
    if verdict.status in ("fail", "error"):
        return replace(verdict, status="xfail", sentence=f"{verdict.sentence}; expected: {reason}")
    if verdict.status == "pass":
        sentence = f"{verdict.sentence}; it was expected to fail ({reason}): remove it from expected_failures"
        return replace(verdict, status="xpass", sentence=sentence)
    return verdict


class _ControlError(Exception):
    """A control could not be measured; carries what happened to which."""


@dataclass(eq=False)
class _Judge:
    """One item at work."""

    item: Item
    run: Run
    samples: list[Tensor] = field(default_factory=list)
    draws: dict[str, Drawn] = field(default_factory=dict)
    controls: dict[str, list[Tensor]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    evidence: dict[str, Tensor] = field(default_factory=dict)
    lines: list[Lines] = field(default_factory=list)
    control_lines: dict[str, list[dict[str, Tensor]]] = field(default_factory=dict)

    @property
    def gate(self) -> Gate:
        return self.item.gate or self.item.check.gate

    def verdict(self) -> Verdict:
        check, subject, method = self.item.check, self.item.subject, self.item.method
        try:
            _require(check.needs, subject)
            _require(method.needs, self.subject)
            judgement = self._judgement()
        except Undefined as error:
            return self._verdict("not_applicable", str(error))
        except MethodError as error:
            return replace(
                self._verdict("error", str(error)), trace=_own_frames(error.__cause__, check.measure)
            )
        except (_ControlError, Invalid) as error:
            return self._verdict("invalid", f"{error}; the check says nothing about {subject.name!r}")
        if reason := self._invalid():
            sentence = f"{reason}; the check says nothing about {subject.name!r}"
            return self._verdict("invalid", sentence, judgement)
        sentence = self._sentence(judgement)
        if judgement.outcome == "pass" and (reason := self._uninformative()):
            return self._verdict("not_applicable", f"{sentence}; uninformative, since {reason}", judgement)
        return self._verdict(judgement.outcome, sentence, judgement)

    @cached_property
    def subject(self) -> Subject:
        """What is measured on: the item's subject, or what the check makes of it, once in a run."""
        given, on = self.item.subject, self.item.check.on
        if on is None:
            return given

        def make() -> tuple[object, Subject | Undefined | Invalid]:
            try:
                return on, on(given, self.run)
            except (Undefined, Invalid) as error:
                return on, error

        # The function is kept beside what it made: its id must not be given to another one meanwhile.
        _, found = self.run.once(digest("derived", id(on), given.fingerprint), make)
        if isinstance(found, Subject):
            return found
        raise found

    def _uninformative(self) -> str:
        """Which of the checks that a pass presumes does not hold, or an empty string."""
        item = self.item
        for name in item.check.presumes:
            gate = item.presumed_gates.get(name)
            presumed = Item(item.method, registry.checks()[name], item.subject, gate)
            key = digest("presumed", id(item.method), name, item.subject.fingerprint, str(gate))
            verdict: Verdict = self.run.once(key, partial(presumed.judge, self.run))
            if verdict.status in ("fail", "error"):
                figures = "" if verdict.interval is None else f": {verdict.interval} (gate {verdict.gate})"
                return f"{name}, which it presumes, {verdict.status}s{figures}"
        return ""

    def _judgement(self) -> Judgement:
        check, subject = self.item.check, self.subject
        explainer = self.run.explainer(self.item.method, subject)
        judgement: Judgement | None = None
        for number, draw in enumerate(self.run.draws(check.name, subject, check.inputs), start=1):
            self.run.progress(f"{check.name} of {self.item.method.name}: draw {number}")
            self._take(check(explainer, subject, draw))
            if number == 1:
                self.evidence |= self._worst_inputs(explainer, draw)
            found = {one.name: self._of_control(one, draw) for one in self._controls()}
            for name, (samples, rows) in found.items():
                self.controls.setdefault(name, []).append(samples)
                self.control_lines.setdefault(name, []).append(rows)
            figures = {name: check.value(samples) for name, (samples, _) in found.items()}
            self.draws[str(draw.seed)] = Drawn(self.samples[-1], figures)
            if isinstance(self.gate, Beats) and not self._rivals():
                raise Undefined(f"{subject.name!r} allows none of the controls that are to be beaten")
            judgement = self.gate.judge(torch.cat(self.samples), self._rivals(), check.estimate)
            if judgement.outcome != "undecided" or not check.sequential:
                break
        if judgement is None:
            raise Undefined("the subject has no inputs to draw")
        return replace(judgement, interval=judgement.interval.within(check.bounds))

    def _take(self, measurement: Measurement) -> None:
        self.samples.append(measurement.samples.double().cpu())
        if measurement.finding:
            self.findings.append(measurement.finding)
        for name, tensor in measurement.evidence.items():
            self.evidence.setdefault(name, tensor)
        if measurement.lines is not None:
            self.lines.append(measurement.lines)

    def _worst_inputs(self, explainer: Explainer, draw: Draw) -> dict[str, Tensor]:
        """Evidence for a picture of the draw's worst inputs, where there is none and a row is an input."""
        check, rows = self.item.check, self.samples[-1]
        one_each = rows.ndim == 1 and len(rows) == len(draw.inputs) and check.sequential
        if not one_each or check.claimed or "composite" in self.evidence or not self.subject.is_image:
            return {}
        worst = rows.argsort(descending=self.gate.better == "lower", stable=True)[:WORST]
        try:
            maps = explainer(self.subject.model, draw.inputs, draw.targets)
        except MethodError:  # of a check that asks for other maps; this one is none of its business
            return {}
        chosen = worst.to(draw.inputs.device)
        return {
            "composite": draw.inputs[chosen],
            "map_a": maps[chosen].sum(1),
            "target_a": draw.targets[chosen],
            "row": rows[worst],
            "index": draw.indices[worst],
        }

    def _controls(self) -> list[Method]:
        """The controls that this check reads and this subject allows."""
        check, offers = self.item.check, self.subject.offers
        known = [m for m in registry.methods().values() if m.control is not None and m.needs <= offers]
        if isinstance(self.gate, Beats):
            wanted = {m.name for m in known if m.control == "negative"}
            wanted = wanted & set(check.negative) if check.negative else wanted
        else:
            wanted = set(check.negative)
        return [m for m in known if m.name in wanted | set(check.positive)]

    def _joined(self) -> dict[str, Tensor]:
        return {name: torch.cat(parts) for name, parts in self.controls.items()}

    def _rivals(self) -> dict[str, Tensor]:
        """Samples of the negative controls."""
        negative = {m.name for m in self._controls() if m.control == "negative"}
        return {name: samples for name, samples in self._joined().items() if name in negative}

    def _of_control(self, control: Method, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """Samples and lines of a control in a draw, from the store: they are the same for every method."""
        check, subject = self.item.check, self.subject

        def compute() -> dict[str, Tensor]:
            self.run.progress(f"{check.name}: control {control.name}")
            try:
                found = check(self.run.explainer(control, subject), subject, draw)
            except MethodError as error:
                raise _ControlError(f"the control {control.name!r} {error}") from error
            lines = {} if found.lines is None else found.lines.rows
            return {"samples": found.samples.double()} | {
                f"line {name}": rows for name, rows in lines.items()
            }

        code = source_digest(check.measure, control.function)
        found = draw.shared("control", compute, check=check.name, control=control.name, code=code)
        samples = found.pop("samples").cpu()
        return samples, {name.removeprefix("line "): rows for name, rows in found.items()}

    def _invalid(self) -> str:
        """Why the controls do not separate here, or an empty string."""
        check, joined = self.item.check, self._joined()
        if isinstance(self.gate, Beats):
            for name in set(check.positive) & set(joined):
                judged = self.gate.judge(joined[name], self._rivals(), check.estimate)
                if judged.difference is not None and judged.difference.value <= self.gate.by:
                    return (
                        f"the control {name!r}, which knows the truth, does not beat {judged.rival!r}: "
                        f"{judged.difference} (gate {self.gate})"
                    )
            return ""
        for name in (*check.negative, *check.positive):
            if name not in joined:
                continue
            value = check.value(joined[name])
            outcome = self.gate.judge(torch.tensor([value]), {}, _point).outcome
            wanted = "fail" if name in check.negative else "pass"
            if outcome != wanted:
                return f"the control {name!r} has to {wanted} and does not: {value:.3g} (gate {self.gate})"
        return ""

    def _sentence(self, judgement: Judgement) -> str:
        check = self.item.check
        if not check.sequential and self.findings:
            return self.findings[0]
        text = f"{judgement.interval} {check.reads}".rstrip()
        if judgement.difference is not None:
            better = judgement.difference
            word, shown = ("better", better) if better.value >= 0 else ("worse", -better)
            text += f", {shown} {word} than control {judgement.rival!r}"
        text += f" (gate {self.gate})"
        if judgement.outcome == "undecided":
            text += f"; not clear after {self._units()}"
        if judgement.outcome == "fail" and self.findings:
            text += f"; {self.findings[0]}"
        if judgement.outcome == "fail" and self.item.advisory and not self.item.required:
            text += f"; this is advice, since {self.item.advisory}"
        return text

    def _units(self) -> str:
        """How much was drawn, and what would be more."""
        drawn, there = min(self.run.limit, len(self.subject.inputs)), len(self.subject.inputs)
        if drawn < there:
            return f"{drawn} inputs, try a larger --xattr-budget"
        if self.subject.inputs is self.item.subject.inputs:
            return f"all {there} inputs of the subject, give it more"
        larger = [name for name, limit in BUDGETS.items() if limit > self.run.limit]
        made = larger and not self.item.subject.generated  # what ships with a subject is all there is
        advice = f"; --xattr-budget={larger[0]} makes more" if made else ""
        return f"all {there} generated inputs{advice}"

    def _verdict(self, status: Status, sentence: str, judgement: Judgement | None = None) -> Verdict:
        check = self.item.check
        return Verdict(
            method=self.item.method.name,
            subject=self.item.subject.name,
            check=check.name,
            family=check.family,
            status=status,
            sentence=f"{check.name}: {sentence}",
            gate=str(self.gate),
            interval=None if judgement is None else judgement.interval,
            controls={name: check.value(samples) for name, samples in self._joined().items()},
            required=self.item.required,
            advisory="" if self.item.required else self.item.advisory,
            n=sum(len(part) for part in self.samples),
            evidence=self.evidence,
            better=self.gate.better,
            scale=self.gate.scale,
            fingerprint=self.item.subject.fingerprint,
            code=source_digest(check.measure),
            draws=self.draws,
            figure=figure(self.lines, self.control_lines),
        )


def _require(needs: frozenset[str], subject: Subject) -> None:
    """Raise Undefined where a subject does not offer what is needed."""
    if missing := sorted(needs - subject.offers):
        raise Undefined(f"needs {' and '.join(missing)}, which subject {subject.name!r} does not offer")


def _own_frames(error: BaseException | None, measure: object) -> str:
    """The traceback of an exception from where the method was called on, or an empty string.

    The frames before are the engine's and those of the package that declares the check.
    """
    if error is None:
        return ""
    folders = {os.path.dirname(CALLER), os.path.dirname(inspect.getsourcefile(measure) or "")}  # type: ignore[arg-type]
    frames = traceback.extract_tb(error.__traceback__)
    start = 0
    for number, frame in enumerate(frames, start=1):
        if os.path.dirname(frame.filename) not in folders:
            break
        if (frame.filename, frame.name) == (CALLER, "__call__") or frame.filename == CONVERTER:
            start = number
    lines = [*traceback.format_list(frames[start:]), *traceback.format_exception_only(error)]
    return "Traceback of the method (most recent call last):\n" + "".join(lines).rstrip()


def _point(samples: Tensor, error_rate: float) -> Interval:
    return exact(float(samples.mean()))
