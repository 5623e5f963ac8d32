"""The loop: one method against one check on one subject, measured until the verdict is clear."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property, partial
from typing import cast, get_args

import torch
from torch import Tensor

from xattr_check.battery import sentences
from xattr_check.battery.baseline import from_zero
from xattr_check.battery.controls import ControlError, Controls
from xattr_check.battery.sentences import Spent
from xattr_check.core import registry
from xattr_check.core.checks import Axiom, Derive, Measurement, brings, stages
from xattr_check.core.expected import ExpectedFailure
from xattr_check.core.explainer import Explainer
from xattr_check.core.figure import Lines, figure
from xattr_check.core.method import Method
from xattr_check.core.run import Draw, Run
from xattr_check.core.state import full_precision
from xattr_check.core.subject import GIVEN, Subject
from xattr_check.core.verdict import Drawn, Status, Verdict, of_gate
from xattr_check.errors import Invalid, MethodError, Undefined
from xattr_check.statistics.gate import AtLeast, AtMost, Beats, Gate, Judgement
from xattr_check.statistics.intervals import Interval
from xattr_check.storage.digest import digest
from xattr_check.storage.sources import source_digest

# So many inputs are kept for a picture of the worst.
WORST = 4
# Passes through the model for a row beyond which a quick run has one draw of a check that counts them: of one
# that gates, integrated gradients of 256 steps go on, and those that sample by the thousand do not.
GATING, REPORTED = 600, 100
# So many budgets are drawn where a verdict that gates is expected to be clear by then.
BEYOND = 1.5
# Of these verdicts another may come where a check has more inputs made.
OPEN = ("undecided", "invalid")
# On so many inputs a method is asked whether it raises whatever the check: the batch of most of the contract.
ASKED = 8
# Fills that a network is trained for, which nothing does unasked.
TRAINED = ("inpainted",)


@dataclass(frozen=True, eq=False)
class Item:
    """One method against one check on one subject.

    controls: methods that may be measured beside it, by name; check and gate say which of them they read.
    presumed: the same method against the checks that must not fail for a pass to mean anything.
    gate: replaces the check's own where given.
    claims: exact axioms that the method is held to besides its own claims.
    expected_failure: where this method is known to fail this check.
    told_by: the check, this one or another, that tells of what the method raises whatever the check, since
        that is one result and not one for each. Empty where each tells by itself.
    """

    method: Method
    check: Axiom
    subject: Subject
    controls: Mapping[str, Method] = field(default_factory=dict)
    presumed: "Sequence[Item]" = ()
    gate: Gate | None = None
    claims: frozenset[str] = frozenset()
    expected_failure: ExpectedFailure | None = None
    told_by: str = ""

    @property
    def required(self) -> bool:
        """Whether the verdict gates: always where it is claimed, else unless it has to be, or is advice."""
        claimed = bool({self.check.name, self.check.claim} & (self.method.claims | self.claims))
        return claimed or not (self.check.claimed or self.advisory)

    @property
    def advisory(self) -> str:
        """Why the verdict is only advice on this subject, or an empty string."""
        offers = self.subject.offers
        return next((why for what, why in self.check.advisory.items() if what not in offers), "")

    def judge(self, run: Run) -> Verdict:
        """Measure until the verdict is clear or the budget is spent."""
        started = time.perf_counter()
        with full_precision(run.device):
            trial: _Trial | None = _Trial(self, run, tuple(stages(self.check.on, self.subject, run)))
            while trial is not None:
                verdict = trial.verdict()
                # What came to no figure comes to none on more inputs.
                judged = verdict.interval is not None
                trial = trial.larger() if judged and verdict.status in OPEN else None
        if self.expected_failure is not None:
            verdict = expect(verdict, self.expected_failure)
        return replace(verdict, seconds=time.perf_counter() - started)


def expect(verdict: Verdict, expected: ExpectedFailure) -> Verdict:
    """The verdict where a failure is expected: one that is no worse is excused, and a pass is not."""
    told = expected.told_reason
    if verdict.status in ("fail", "error"):
        if worse := expected.worse(verdict):
            hint = "--xattr-accept accepts it as it is now"
            return replace(verdict, sentence=f"{verdict.sentence}; {worse} ({told}): {hint}")
        return replace(verdict, status="xfail", sentence=f"{verdict.sentence}; expected: {told}")
    if verdict.status == "pass":
        remove = "remove it from expected_failures, by hand or with --xattr-accept"
        sentence = f"{verdict.sentence}; it was expected to fail ({told}): {remove}"
        return replace(verdict, status="xpass", sentence=sentence)
    return verdict


@dataclass(eq=False)
class _Trial:
    """One item at work.

    stages: what makes the subject that is measured on, with more and more inputs; see `checks.stages`.
    parts: how many inputs there were at the stages before.
    """

    item: Item
    run: Run
    stages: Sequence[Derive | None]
    parts: tuple[int, ...] = ()
    inputs: int = 0
    samples: list[Tensor] = field(default_factory=list)
    draws: dict[str, Drawn] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    evidence: dict[str, Tensor] = field(default_factory=dict)
    names: list[list[str]] = field(default_factory=list)
    lines: list[Lines] = field(default_factory=list)
    best: list[Tensor] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    example: str = ""
    cut: float = 0.0
    ask: dict[str, object] = field(default_factory=dict)
    controls: Controls | None = None

    @property
    def gate(self) -> Gate:
        return self.item.gate or self.item.check.gate

    def verdict(self) -> Verdict:
        check, subject, method = self.item.check, self.item.subject, self.item.method
        try:
            # No inputs are made for a method that raises whatever they are.
            if self._tells_faults and (fault := self._fault_anywhere()):
                raise fault
            _require(check.needs, subject)
            _expect_unspoiled(subject)
            _require(method.needs, self.subject)
            self.controls = Controls(
                check, self.gate, self.subject, self.run, self.item.controls, method.sensitivity
            )
            judgement = self._judgement(self.controls)
            reason = self.controls.fault()
            hint = self._instead() if reason else {}
            if not reason:
                judgement, reason, hint = self._within_reach(self.controls, judgement)
        except Undefined as error:
            told = sentences.undefined(check, error)
            return replace(self._verdict("not_applicable", told), lacks=error.lacks)
        except MethodError as error:
            if told := self._told_elsewhere(error):
                return self._verdict("not_applicable", told)
            trace = sentences.own_frames(error.__cause__, check.measure)
            return replace(self._verdict("error", str(error)), trace=trace)
        except (ControlError, Invalid) as error:
            return self._verdict("invalid", sentences.invalid(check, error, subject.name, {}))
        if reason:
            return self._verdict("invalid", sentences.invalid(check, reason, subject.name, hint), judgement)
        found = self._conclude(judgement)
        if judgement.outcome == "pass" and (reason := self._uninformative()):
            sentence = f"{found.sentence}; uninformative, since {reason}"
            return replace(found, status="not_applicable", sentence=sentence)
        return found

    def _another_fill(self) -> Mapping[str, object]:
        """What else may stand for what is removed where the controls separate then, by the first draw."""
        check = self.item.check
        option = None if "fill" in check.parameters else check.options.get("fill")
        if option is None:
            return {}
        for fill in get_args(option.annotation):
            if fill in (option.default, self._fill, *TRAINED):
                continue
            if fill == "zero" and not _spans_zero(self.subject):
                continue
            if self._separates({"fill": fill}):
                return {"fill": fill}
        return {}

    def _separates(self, parameters: Mapping[str, object]) -> bool:
        """Whether the controls of a variant of the check separate, by the first draw."""
        check, subject = self.item.check, self.subject
        variant = check.with_parameters({**check.parameters, **parameters})
        draw = next(iter(self.run.draws(variant.name, subject, variant.inputs)))
        self.run.progress(f"{variant.name}: whether its controls separate")
        try:
            controls = Controls(variant, self.gate, subject, self.run, self.item.controls)
            found = variant(Explainer.of(self.item.method, subject, self.run), subject, draw)
            controls.measure(draw)
        except (Undefined, Invalid, MethodError, ControlError):
            return False
        best = torch.tensor([variant.ceiling]).double() if found.best is None else found.best
        beyond = controls.unbeatable(best) or controls.untold(best) or controls.unbeaten(best)
        return not (controls.fault() or beyond)

    def _instead(self) -> Mapping[str, object]:
        """Which variant says more where the check says nothing: what it asks for, or another fill."""
        return self.ask if self.ask and self._separates(self.ask) else self._another_fill()

    def _started(self) -> str:
        """That the method measures from zero, where a check removes to the mean; empty where it does not."""
        check, subject, method = self.item.check, self.subject, self.item.method
        if self._fill != "mean" or not subject.far_from_zero:
            return ""
        ask = {"fill": "zero"} if "zero" in get_args(check.options["fill"].annotation) else {}
        # What a parameter of that name is of a user's own is not known.
        if registry.is_reference(method) and method.from_zero:
            return sentences.started(check, ask, method.name)
        draw = next(iter(self.run.draws(check.name, subject, check.inputs)))
        try:
            told = from_zero(Explainer.of(method, subject, self.run), subject, draw)
        except (MethodError, Undefined):  # of a check that asks for other maps
            told = False
        return sentences.started(check, ask) if told else ""

    @property
    def _fill(self) -> object:
        """What stands for what is removed, None where the check removes nothing."""
        check = self.item.check
        if (option := check.options.get("fill")) is None:
            return None
        given = check.parameters.get("fill", option.default)
        return self.subject.layout.canvas if given == "canvas" else given

    @property
    def _tells_faults(self) -> bool:
        """Whether the method is first asked whether it raises whatever the check."""
        return self.item.told_by == self.item.check.name or (self.item.told_by != "" and len(self.stages) > 1)

    def _fault_anywhere(self) -> MethodError | None:
        """What the method raises on the first of the subject's inputs; None where it serves."""
        method, subject = self.item.method, self.item.subject
        explainer = Explainer.of(method, subject, self.run)
        draw = next(iter(self.run.draws("", subject, ASKED)))
        try:
            _require(method.needs, subject)
            with draw.scope():
                explainer(subject.model, draw.inputs, draw.targets)
        except Undefined:
            return None
        except MethodError as error:
            return error if error.fault else None
        return None

    def _told_elsewhere(self, error: MethodError) -> str:
        """Why the check says nothing of a method that raises whatever the check; empty where it tells."""
        told_by = self.item.told_by
        if told_by in ("", self.item.check.name) or not error.fault:
            return ""
        fault = self._fault_anywhere()
        if fault is None or fault.fault != error.fault:
            return ""
        return f"as {told_by} tells{', the method' if str(fault).startswith('raised') else ':'} {fault}"

    def _within_reach(
        self, controls: Controls, judgement: Judgement
    ) -> tuple[Judgement, str, Mapping[str, object]]:
        """The judgement by the controls that can be beaten, where others cannot; why it is none, and a hint.

        What no map could beat fails nobody, nor what no method beats that asks the model. What loses to a
        control that could be beaten fails all the same.
        """
        beyond = {} if judgement.outcome == "pass" else controls.unbeatable(self.ceiling)
        beyond |= controls.untold(self.ceiling)
        if beyond:
            judgement, reason = self._without(beyond, controls, judgement)
            if reason:
                return judgement, reason, self._instead()
        if judgement.outcome == "fail":
            beyond |= controls.unbeaten(self.ceiling)
            judgement, reason = self._without(beyond, controls, judgement)
            if judgement.outcome == "fail" and not reason:
                reason = self._as_witnessed(controls)
            return judgement, reason, {}
        return judgement, "", {}

    def _without(
        self, beyond: Mapping[str, str], controls: Controls, judgement: Judgement
    ) -> tuple[Judgement, str]:
        """The failure without some of the controls, or the judgement as it is and why nothing follows."""
        within = {name: rows for name, rows in controls.rivals.items() if name not in beyond}
        if within and beyond:
            samples = torch.cat(self.samples)
            found = self.gate.judge(samples, within, self._estimate, self.item.check.guard, self.ceiling)
            if found.outcome == "fail":
                return found, ""
        return judgement, beyond.get(judgement.rival or "", next(iter(beyond.values()), ""))

    def _as_witnessed(self, controls: Controls) -> str:
        """Why a failure says nothing: what parts do is beyond the bound too, and the method is no worse.

        What is no better than a control fails all the same.
        """
        rows, sign = torch.cat(self.samples), 1 if self.gate.better == "lower" else -1
        figures = [
            sign * controls.figures[name] for name in self.item.check.negative if name in controls.samples
        ]
        if sign * self.item.check.value(rows) >= min(figures, default=math.inf):
            return ""
        for name, value in controls.witnessed().items():
            bound = replace(cast(AtMost | AtLeast, self.gate), bound=value)
            found = bound.judge(rows, {}, self._estimate, self.item.check.guard)
            if found.outcome != "fail":
                return (
                    f"{name}, which measures what single parts do, comes to {value:.3g} (gate {self.gate}), "
                    f"and this to {found.interval}: what is certified of whole features is not true of parts"
                )
        return ""

    @property
    def ceiling(self) -> Tensor:
        """(n,) or (1,): the best that any map could reach, on the inputs so far where it is known of them."""
        if not self.best:
            return torch.tensor([self.item.check.ceiling], dtype=torch.float64)
        best = torch.cat(self.best)
        # An order that is found step by step is no bound: what did better, map or control, could be reached.
        better = torch.minimum if self.gate.better == "lower" else torch.maximum
        others = self.controls.joined.values() if self.controls else ()
        for rows in (torch.cat(self.samples), *others):
            best = better(best, rows) if rows.shape == best.shape else best
        return best

    def larger(self) -> "_Trial | None":
        """The same on more inputs, where the check can have more made and the model is still what it was."""
        left = self.stages[1:] if self.item.subject.computes_as_before() else ()
        try:
            there = len(self.subject.inputs)
            while left:
                trial = _Trial(self.item, self.run, left, (*self.parts, there))
                if len(trial.subject.inputs) > there:
                    return trial
                left = left[1:]
        except (Undefined, Invalid):
            return None
        return None

    @cached_property
    def subject(self) -> Subject:
        """What is measured on: the item's subject, or what the check makes of it, once in a run."""
        given, on = self.item.subject, self.stages[0]
        if on is None:
            return given
        if lacking := given.context.keys() - brings(on):
            told = f"needs inputs of its own, for which {given.name!r} has no {', '.join(sorted(lacking))}"
            raise Undefined(told)

        # Nothing is made with a model that a method has spoiled, and kept for others.
        _expect_unspoiled(given)

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
        """Why a pass would say nothing, or an empty string: by the check itself, or one that it presumes."""
        if self.doubts:
            return self.doubts[0]
        for presumed in self.item.presumed:
            name = presumed.check.name
            gate = presumed.gate or presumed.check.gate
            key = digest("presumed", id(presumed.method), name, presumed.subject.fingerprint, str(gate))
            verdict: Verdict = self.run.once(key, partial(presumed.judge, self.run))
            figures = "" if verdict.interval is None else f": {verdict.interval} (gate {verdict.gate})"
            if verdict.status in ("fail", "error"):
                return f"{name}, which it presumes, {verdict.status}s{figures}"
            if verdict.status == "undecided":
                return f"{name}, which it presumes, is undecided{figures}"
            if verdict.status == "invalid":
                return f"{name}, which it presumes, says nothing about {self.item.subject.name!r}"
        return ""

    def _judgement(self, controls: Controls) -> Judgement:
        check, subject = self.item.check, self.subject
        explainer = Explainer.of(self.item.method, subject, self.run)
        judgement: Judgement | None = None
        draws = self.run.draws(check.name, subject, check.inputs, check.then, BEYOND, self.parts)
        for number, draw in enumerate(draws, start=1):
            if judgement and self.inputs >= self.run.limit and not self._nearly(judgement):
                break
            self.run.progress(f"{check.name} of {self.item.method.name}: draw {number}")
            self.inputs += len(draw.indices)
            passes = self._take(check(explainer, subject, draw))
            if number == 1:
                self.evidence |= self._worst_inputs(explainer, draw)
            self.draws[str(draw.seed)] = Drawn(self.samples[-1], controls.measure(draw))
            if isinstance(self.gate, Beats) and not controls.rivals:
                raise Undefined(f"{subject.name!r} allows none of the controls that are to be beaten")
            judgement = self._judged(controls)
            clear = judgement.outcome != "undecided" and not self._left_open(controls, judgement)
            if clear or not check.sequential:
                break
            if self._too_costly(passes):
                self.cut = passes
                break
        if judgement is None:
            raise Undefined("the subject has no inputs to draw")
        return judgement

    def _nearly(self, judgement: Judgement) -> bool:
        """Whether a verdict that gates is as near as what may be drawn beyond the budget for it."""
        rows = torch.cat(self.samples)
        lacks = self.item.check.shortfall(judgement, rows, self._population(rows))
        return (
            self.item.required
            and lacks is not None
            and lacks.rows <= BEYOND * self.run.limit / self.inputs * len(rows)
        )

    def _left_open(self, controls: Controls, judgement: Judgement) -> bool:
        """Whether a failure is by controls that cannot be beaten, and nothing is clear by the others."""
        beyond: set[str] = set()
        for struck in (controls.unbeatable, controls.untold, controls.unbeaten):
            if judgement.outcome != "fail":
                break
            beyond |= struck(self.ceiling).keys()
            within = {name: rows for name, rows in controls.rivals.items() if name not in beyond}
            if not beyond or not within:
                continue
            judgement = self.gate.judge(
                torch.cat(self.samples), within, self._estimate, self.item.check.guard, self.ceiling
            )
        return judgement.outcome == "undecided"

    def _judged(self, controls: Controls) -> Judgement:
        """What the gate says to all rows so far, by one reference after the other until one passes them."""
        while True:
            if controls.rivals or not self.gate.references:
                judged = self.gate.judge(
                    torch.cat(self.samples), controls.rivals, self._estimate, self.item.check.guard,
                    self.ceiling,
                )  # fmt: skip
                if judged.outcome == "pass":
                    return judged
            if not controls.ask_another():
                break
        if self.gate.references and not controls.rivals:
            told = " or ".join(self.gate.references)
            raise Undefined(f"{self.item.subject.name!r} allows no reference, {told}")
        return judged

    def _estimate(self, samples: Tensor, error_rate: float) -> Interval:
        """The statistic with its interval; of as many rows in all as the subject's inputs make."""
        return self.item.check.estimate(samples, error_rate, population=self._population(samples))

    def _population(self, samples: Tensor) -> int | None:
        """How many rows the subject's inputs make in all, by how many those so far have made.

        None where more inputs can be made.
        """
        if len(self.stages) > 1:
            return None
        return round(len(self.subject.inputs) * len(samples) / self.inputs)

    def _too_costly(self, passes: float) -> bool:
        """Whether a quick run stops after rows of so many passes: sooner where the verdict gates nothing."""
        return self.run.budget == "quick" and passes > (GATING if self.item.required else REPORTED)

    def _take(self, measurement: Measurement) -> float:
        """Keep what was measured; how many passes a row took, where that matters."""
        self.samples.append(measurement.samples.double().cpu())
        self.findings.append(measurement.finding)
        for name, tensor in measurement.evidence.items():
            self.evidence.setdefault(name, tensor)
        if measurement.lines is not None:
            self.lines.append(measurement.lines)
        if measurement.best is not None:
            self.best.append(measurement.best.double().cpu())
        self.ask |= measurement.ask
        self.example = self.example or measurement.example
        if measurement.uninformative:
            self.doubts.append(measurement.uninformative)
        return measurement.passes

    def _worst_inputs(self, explainer: Explainer, draw: Draw) -> dict[str, Tensor]:
        """Evidence for a picture of the draw's worst inputs, where there is none and a row is an input."""
        check, rows = self.item.check, self.samples[-1]
        one_each = rows.ndim == 1 and len(rows) == len(draw.inputs) and check.sequential
        layout, shown = self.subject.layout, not {"composite", self.subject.layout.name} & set(self.evidence)
        if not one_each or check.claimed or not shown:
            return {}
        worst = rows.argsort(descending=self.gate.better == "lower", stable=True)[:WORST]
        try:
            with draw.scope():
                maps = explainer(self.subject.model, draw.inputs, draw.targets)
        except MethodError:  # of a check that asks for other maps; this one is none of its business
            return {}
        chosen = worst.to(draw.inputs.device)
        self.names = self.subject.names_of(draw.indices[worst])
        return {
            "composite" if layout.name == "image" else layout.name: draw.inputs[chosen],
            "map_a": layout.scores(maps[chosen]).reshape(-1, *layout.spatial),
            "target_a": draw.targets[chosen],
            "row": rows[worst],
            "index": draw.indices[worst],
        }

    @property
    def _finding(self) -> str:
        """What was found in the worst of the draws that say something, empty where none does."""
        sign = 1 if self.gate.better == "lower" else -1
        told = [
            (sign * float(rows.mean()), finding)
            for rows, finding in zip(self.samples, self.findings, strict=True)
            if finding and len(rows)
        ]
        return max(told, key=lambda one: one[0], default=(0.0, next(filter(None, self.findings), "")))[1]

    def _conclude(self, judgement: Judgement) -> Verdict:
        """The verdict by the gate, where the controls are as they must be."""
        check, outcome = self.item.check, judgement.outcome
        finding = self._finding
        if not check.sequential and finding:
            found = self._verdict(outcome, finding, judgement)
            return replace(found, trace=self.example if outcome == "fail" else "")
        rows = sum(map(len, self.samples))
        samples = torch.cat(self.samples)
        shortfall = check.shortfall(judgement, samples, self._population(samples))
        parts = [sentences.figures(check, judgement, self.gate)]
        if outcome == "undecided":
            drawn = Spent(rows, self.inputs, self.item.subject, self.subject, self.run)
            parts.append(sentences.missing(shortfall, drawn))
            if self.cut:
                parts.append(sentences.cut(self.cut, required=self.item.required))
        if outcome == "fail" and finding:
            parts.append(finding)
        if outcome != "pass" and (started := self._started()):
            parts.append(started)
        if outcome == "fail" and self.item.advisory and not self.item.required:
            parts.append(f"this is advice, since {self.item.advisory}")
        return replace(
            self._verdict(outcome, "; ".join(parts), judgement), continues=True, shortfall=shortfall
        )

    def _verdict(self, status: Status, sentence: str, judgement: Judgement | None = None) -> Verdict:
        check, controls = self.item.check, self.controls
        return Verdict(
            method=self.item.method.name,
            subject=self.item.subject.name,
            check=check.name,
            family=check.family,
            status=status,
            sentence=sentence,
            **of_gate(self.gate),
            interval=None if judgement is None else judgement.interval.within(check.bounds),
            controls={} if controls is None else controls.figures,
            best=float(self.ceiling.mean()) if self.samples and isinstance(self.gate, Beats) else None,
            required=self.item.required,
            advisory="" if self.item.required else self.item.advisory,
            n=sum(len(part) for part in self.samples),
            evidence=self.evidence,
            names=self.names,
            fingerprint=self.item.subject.fingerprint,
            code=source_digest(check.measure),
            draws=self.draws,
            figure=figure(self.lines, {} if controls is None else controls.lines),
        )


def _spans_zero(subject: Subject) -> bool:
    """Whether zero lies among the inputs: of each column by itself, elsewhere of all values together."""
    inputs = subject.inputs if subject.layout.name == "columns" else subject.inputs.flatten()
    return bool(((inputs.amin(0) <= 0) & (inputs.amax(0) >= 0)).all())


def _require(needs: frozenset[str], subject: Subject) -> None:
    """Raise Undefined where a subject does not offer what is needed."""
    if missing := sorted(needs - subject.offers):
        told = f"needs {' and '.join(missing)}, which subject {subject.name!r} does not offer"
        known = [one for one in (*subject.truth, *subject.siblings) if one not in needs]
        names = [name.removeprefix("sibling ") for name in missing]
        near = [one for name in names for one in get_close_matches(name, known, n=1, cutoff=0.7)]
        told += f" (it has {' and '.join(map(repr, near))})" if near else ""
        # An image cannot be given to a table.
        givable = GIVEN.issuperset(one.partition(" ")[0] for one in missing)
        raise Undefined(told, lacks=tuple(missing) if givable else ())


def _expect_unspoiled(subject: Subject) -> None:
    """Raise Invalid where a model has come to compute something else, in a way that could not be undone."""
    if not subject.computes_as_before():
        raise Invalid(
            "the model no longer gives the outputs that it gave at first: an earlier method left something "
            "behind that could not be put back; judge each method in a process of its own"
        )
