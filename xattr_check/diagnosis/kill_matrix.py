"""The kill matrix: mutants of right methods, and which required checks tell them from these."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from xattr_check.battery.battery import Battery, item
from xattr_check.core import registry
from xattr_check.core.checks import Axiom
from xattr_check.core.explainer import Explainer
from xattr_check.core.method import Method
from xattr_check.core.run import Draw, Run
from xattr_check.core.subject import Subject
from xattr_check.core.verdict import Verdict
from xattr_check.diagnosis.fingerprint import alike, drawn, from_means, known_scores, nearest, scores
from xattr_check.diagnosis.price import Price, price
from xattr_check.diagnosis.rows import KILLING, Base, Row, closest, outcome_of
from xattr_check.errors import MethodError, Undefined
from xattr_check.mutation.kept import kept
from xattr_check.mutation.mutants import mutant
from xattr_check.mutation.operator import Operator
from xattr_check.storage.digest import digest
from xattr_check.storage.files import write_bytes
from xattr_check.storage.sources import source_digest

# Part of the name of what is kept: rows of another format are judged anew.
FORMAT = 1
# A mutant whose maps are that much like the right ones says what these say.
EQUIVALENT = 0.99
# After so many kills no more is asked: whether a check was the only one is known then.
ENOUGH = 2
# Seconds for a map of those that others are likened to: all together may take as long as what is judged.
QUICK = 0.1
# From the smallest that is tried to what is no mixture any more.
DOSES = (0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(eq=False)
class KillMatrix:
    """Judges mutants on one subject of a battery, and keeps what came of each.

    battery: of the right methods. folder: where rows are kept, so that what was interrupted goes on.
    thorough: whether all checks judge each mutant, and not only until two have killed it.
    """

    battery: Battery
    folder: Path
    thorough: bool = False

    @cached_property
    def subject(self) -> Subject:
        """What is judged on."""
        return self.battery.load(self.battery.subjects[0])

    @property
    def run(self) -> Run:
        """What the items share."""
        return self.battery.run

    @cached_property
    def checks(self) -> dict[str, Axiom]:
        """Those that were asked for, by name."""
        return {one.name: one for one in self.battery.checks}

    @cached_property
    def methods(self) -> dict[str, Method]:
        """The right methods by name."""
        return {one.name: one for one in self.battery.methods}

    @cached_property
    def draw(self) -> Draw:
        """The inputs on which maps are held against each other."""
        return drawn(self.subject, self.run)

    @cached_property
    def known(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The scores of the right methods that are quick, and of the controls that know nothing, by name."""
        quick = {name: one for name, one in self.methods.items() if self.price(name).each <= QUICK}
        controls = {name: one for name, one in registry.controls().items() if one.control == "negative"}
        known = from_means(quick, self.subject)
        return known_scores(known, self.draw), known_scores(controls, self.draw)

    def price(self, name: str) -> Price:
        """How fast a right method is; no time where the subject lacks what it needs."""
        method = self.methods[name]

        def measure() -> Price:
            return Price(name, 0.0, 0.0) if self._lacking(method) else price(method, self.draw)

        return Price.from_record(self._once(measure, "price", name, method.source))

    def base(self, name: str) -> Base:
        """What a right method comes to by itself."""
        method = self.methods[name]

        def judge() -> Base:
            started = time.monotonic()
            if lacking := self._lacking(method):
                return Base(name, self.run.seed, error=lacking)
            try:
                own = scores(method, self.draw)
            except (MethodError, Undefined) as error:
                return Base(name, self.run.seed, error=str(error))
            verdicts = [self._judge(method, check) for check in self.checks.values()]
            gating = [one for one in verdicts if one.required and not one.ungated]
            # Claims last: what gates any method is known then before what only such methods are held to.
            required = sorted(gating, key=lambda one: (self.checks[one.check].claimed, one.seconds))
            methods, controls = self.known
            others = {key: one for key, one in methods.items() if key != name}
            near = nearest(own, others, controls)
            return Base(
                method=name,
                seed=self.run.seed,
                passed=tuple(one.check for one in required if one.status == "pass"),
                failed=tuple(one.check for one in required if one.status in KILLING),
                nearest=str(near[0]) if near else "",
                seconds=time.monotonic() - started,
            )

        return Base.from_record(self._once(judge, "base", name, method.source))

    def row(self, base: Base, operator: Operator, amount: float | None = None) -> Row:
        """What comes of a right method under an operator."""
        method = self.methods[base.method]
        broken = mutant(operator, kept(method, self.run), amount)
        told = amount if amount is not None or not operator.amount else operator.usual

        def row(**came: Any) -> Row:
            return Row(broken.name, base.method, operator.name, told, self.run.seed, **came)

        def judge() -> Row:
            if lacking := self._lacking(broken):
                return row(outcome="not_applicable", reason=lacking)
            try:
                right, own = self._halves(method), self._halves(broken)
            except Undefined as error:
                return row(outcome="not_applicable", reason=str(error))
            except MethodError:  # which the checks will tell
                return self._judged(row, broken, base.passed)
            likeness = alike(right, own)
            if likeness >= EQUIVALENT:
                return row(outcome="equivalent", likeness=likeness)
            return self._judged(row, broken, base.passed, own, likeness)

        what = base.method, method.source, operator.name, operator.source, told, base.passed
        return Row.from_record(self._once(judge, "mutant", *what))

    def by_hand(self, method: Method, order: Sequence[str]) -> Row:
        """What comes of a method that was broken by hand, of which no right one is known.

        order: in which checks are asked; those that it leaves out come last.
        """

        def row(**came: Any) -> Row:
            return Row(method.name, "", method.name, None, self.run.seed, **came)

        def judge() -> Row:
            if lacking := self._lacking(method):
                return row(outcome="not_applicable", reason=lacking)
            return self._judged(row, method, [*order, *(name for name in self.checks if name not in order)])

        return Row.from_record(self._once(judge, "by hand", method.name, method.source))

    def doses(self, base: Base, operator: Operator) -> list[Row]:
        """What comes of the doses that lead to the smallest that is killed, if larger ones are as well."""
        found: dict[float, Row] = {}
        low, high = 0, len(DOSES)
        while low < high:
            middle = (low + high) // 2
            dose = DOSES[middle]
            found[dose] = self.row(base, operator, dose)
            low, high = (low, middle) if found[dose].outcome == "killed" else (middle + 1, high)
        return [found[dose] for dose in sorted(found)]

    def _judged(
        self,
        row: Callable[..., Row],
        method: Method,
        order: Sequence[str],
        own: torch.Tensor | None = None,
        likeness: float | None = None,
    ) -> Row:
        """The row of a mutant by what checks say of it, in that order."""
        started = time.monotonic()
        verdicts: list[Verdict] = []
        for name in order:
            verdict = self._judge(method, self.checks[name])
            if verdict.required and not verdict.ungated:
                verdicts.append(verdict)
            if sum(one.status in KILLING for one in verdicts) >= ENOUGH and not self.thorough:
                break
        outcome = outcome_of(verdicts)
        near = nearest(own, *self.known) if own is not None and outcome != "killed" else []
        return row(
            outcome=outcome,
            reason="no required check says anything of it" if outcome == "not_applicable" else "",
            statuses={one.check: one.status for one in verdicts},
            closest="" if outcome == "killed" else closest(verdicts),
            nearest=str(near[0]) if near else "",
            likeness=likeness,
            seconds=time.monotonic() - started,
        )

    def _lacking(self, method: Method) -> str:
        """What the subject lacks for a method, or an empty string."""
        lacking = sorted(method.needs - self.subject.offers)
        return f"needs {' and '.join(lacking)}" if lacking else ""

    def _judge(self, method: Method, check: Axiom) -> Verdict:
        return item(self.battery.settings, method, check, self.subject, self.battery.beside).judge(self.run)

    def _halves(self, method: Method) -> torch.Tensor:
        """(n, P) scores of the draw's inputs, in two calls: what is kept of a call shows in the next."""
        subject, parts = self.subject, []
        explainer = Explainer.of(method, subject, self.run)
        for some in self.draw.indices.chunk(2):
            half = Draw(self.run, subject, some, self.draw.seed)
            with half.scope():
                parts.append(explainer.scores(subject.model, half.inputs, half.targets))
        return torch.cat(parts)

    def _once(self, judge: Callable[[], Any], kind: str, *what: Any) -> dict[str, Any]:
        """The record of what is judged, kept under all that it depends on."""
        settings = self.battery.settings
        checks = [(name, source_digest(one.measure), str(one.gate)) for name, one in self.checks.items()]
        terms = [settings.seed, settings.budget, self.run.device.type, self.thorough, checks]
        key = digest(FORMAT, kind, self.subject.fingerprint, terms, *what)
        path = self.folder / f"{key}.json"
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        made: dict[str, Any] = judge().record()
        write_bytes(path, json.dumps(made, ensure_ascii=False).encode())
        return made


def smallest_doses(rows: Sequence[Row]) -> dict[tuple[str, str], float | None]:
    """The smallest dose that is killed, by method and operator; None where none is."""
    found: dict[tuple[str, str], float | None] = {}
    for row in rows:
        key = row.method, row.operator
        known = found.setdefault(key, None)
        if row.outcome == "killed" and row.amount is not None:
            found[key] = row.amount if known is None else min(known, row.amount)
    return found


def killed_by_claims(rows: Sequence[Row]) -> list[Row]:
    """Those that are killed only by checks which gate what a method claims, and no other method."""
    known = registry.checks()
    claimed = {name for name, one in known.items() if one.claimed}
    return [row for row in rows if row.outcome == "killed" and claimed.issuperset(row.killers)]
