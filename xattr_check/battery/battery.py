"""A battery: methods × checks × subjects, resolved and validated."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from xattr_check.battery.item import Item
from xattr_check.battery.subjects import NamedSubject, expect_distinct, name_subjects
from xattr_check.config.loaders import load_methods
from xattr_check.config.selection import select
from xattr_check.config.settings import PerMethod, Settings, Terms
from xattr_check.core import registry
from xattr_check.core.checks import Axiom
from xattr_check.core.devices import device_names, preferred
from xattr_check.core.expected import ExpectedFailure
from xattr_check.core.method import Method
from xattr_check.core.run import MEBIBYTE, OnProgress, Run, silent
from xattr_check.core.subject import Subject
from xattr_check.core.verdict import Key, Verdict
from xattr_check.errors import UsageError
from xattr_check.statistics.gate import Beats, Gate, Reaches, Within
from xattr_check.storage.store import Store
from xattr_check.wording import nearest


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu` or an accelerator, with or without an index, that is there. Raises UsageError."""
    if name == "auto":
        return torch.device(preferred())
    wrong = partial(UsageError, option="--xattr-device", value=name)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise wrong(
            expected="auto, cpu, cuda, xpu or mps, or one by its number, for example cuda:0"
        ) from None
    there = device_names()
    if f"{device.type}:{device.index or 0}" not in ("cpu:0", *there):
        hint = "see CUDA_VISIBLE_DEVICES" if device.type == "cuda" else ""
        raise wrong(expected=f"one of the devices that torch sees here, {', '.join(there)}", hint=hint)
    return device


def validate(settings: Settings, methods: Sequence[Method], known: Mapping[str, Axiom]) -> None:
    """Raise UsageError where there is no method, or the settings name a check or a method that is not there.

    methods: those of the run; what a file says of its own other methods is no mistake.
    """
    if not methods:
        expected = "at least one, for example --xattr-method=mymod:explain"
        raise UsageError(option="--xattr-method", expected=expected)
    names = {method.name for method in methods} | {*settings.methods, *settings.others}
    if "all" in names:
        names |= {f"xattr:{name}" for name in registry.methods()}
    for method in methods:
        for claim in sorted(method.claims - known.keys()):
            # What is like none may be a check of a package that is not installed here.
            if near := nearest(claim, known):
                problem = f"it claims {claim!r}, which no check is called"
                raise UsageError(problem, option="method", value=method.name, hint=near)
    for at, terms in settings.terms:
        for key in (item.name for item in fields(Terms)):
            for name, said in getattr(terms, key).items():
                _expect_known(settings, (*at, key), name, said, names, known)


def _expect_known(
    settings: Settings, at: tuple[str, ...], name: str, said: Any, names: Set[str], known: Mapping[str, Axiom]
) -> None:
    """Raise UsageError for a name under `at`, or for one in what is said of it, that nothing has."""
    key = ": ".join(at)
    nested = isinstance(said, dict | list)
    if nested and name not in names:
        raise UsageError(
            f"no method {name!r} in this run",
            option=key,
            hint=nearest(name, names),
            place=settings.place_of(*at, name),
        )
    for check in said if nested else (name,):
        if check not in known and not _is_variant(str(check), known):
            raise UsageError(
                f"no check {check!r}",
                option=key,
                hint=nearest(str(check), known),
                place=settings.place_of(*at, name, check) if nested else settings.place_of(*at, name),
            )


def _is_variant(name: str, known: Mapping[str, Axiom]) -> bool:
    """Whether a name is that of a check with parameters, which need not be judged in this run."""
    try:
        return "?" in name and [check.name for check in select(name, known, "full")] == [name]
    except UsageError:
        return False


@dataclass(frozen=True)
class Beside:
    """What may stand beside a method, by name: the checks that others presume; controls and references."""

    checks: Mapping[str, Axiom]
    controls: Mapping[str, Method]

    @classmethod
    def installed(cls) -> "Beside":
        """All that are installed."""
        return cls(registry.checks(), registry.methods())


def item(settings: Settings, method: Method, check: Axiom, subject: Subject, beside: Beside) -> Item:
    """A method against a check, with what the settings say of the pair."""
    return replace(
        _bare(settings, method, check, subject, beside),
        claims=_claims(settings.claims, method),
        expected_failure=_expected(settings.expected_failures, method, check),
    )


def _bare(settings: Settings, method: Method, check: Axiom, subject: Subject, beside: Beside) -> Item:
    """A method against a check by its gate alone, with the checks that it presumes."""
    return Item(
        method=method,
        check=check,
        subject=subject,
        controls=beside.controls,
        presumed=[_bare(settings, method, beside.checks[name], subject, beside) for name in check.presumes],
        gate=_gate(settings.gates.get(check.name), check),
    )


def _gate(gate: Gate | None, check: Axiom) -> Gate | None:
    """A gate that was given, with what its one number does not say from the check's own."""
    if isinstance(gate, Beats | Within):
        gate = replace(gate, lower=check.gate.better == "lower")
    if isinstance(gate, Within | Reaches):
        gate = replace(gate, of=check.gate.references)
    if isinstance(gate, Reaches) and isinstance(check.gate, Reaches):
        gate = replace(gate, least=check.gate.least)
    return gate


def _claims(claims: PerMethod, method: Method) -> frozenset[str]:
    own = claims.get(method.name)
    everyones = {name for name, value in claims.items() if value is True}
    return frozenset(everyones | set(own if isinstance(own, list) else ()))


def _expected(failures: PerMethod, method: Method, check: Axiom) -> ExpectedFailure | None:
    """What is said of the pair: of the method where something is, else of all."""
    own = failures.get(method.name)
    found = {**failures, **(own if isinstance(own, dict) else {})}.get(check.name)
    if isinstance(found, str):
        return ExpectedFailure(found)
    return found if isinstance(found, ExpectedFailure) else None


def _expect_subjects(settings: Settings, judged: Sequence[NamedSubject]) -> None:
    """Raise UsageError where a file says something of a subject that cannot be there."""
    others = [name for name in settings.by_subject if name not in {subject.label for subject in judged}]
    for name in (one for one in others if ":" not in one):
        known = registry.subjects()
        if name.partition("?")[0] not in known:
            place = settings.place_of("subjects", name)
            raise UsageError(
                f"no subject {name!r}", option="subjects", hint=nearest(name, known), place=place
            )


def run_of(settings: Settings, progress: OnProgress = silent, warn: OnProgress = silent) -> Run:
    """What a run shares as the settings say, in their store. Raises UsageError."""
    return Run(
        store=Store(Path(settings.storage) / "store"),
        seed=settings.seed,
        budget=settings.budget,
        device=resolve_device(settings.device),
        timeout=settings.timeout,
        memory=settings.memory * MEBIBYTE,
        progress=progress,
        warn=warn,
    )


@dataclass(frozen=True, eq=False)
class Case:
    """What is judged as one: a method against a check on a subject, which need not be loaded yet."""

    subject: NamedSubject
    method: Method
    check: Axiom

    @property
    def key(self) -> Key:
        """That of its verdict; of a subject that was never loaded, by its label."""
        return Key(self.subject.name, self.method.name, self.check.name)


class Battery:
    """What is to be judged, resolved and validated: methods × checks × subjects, and the run they share.

    sources: digests of the texts that the methods are from, by name.
    subjects: specs, factories or Subjects; none for what the settings say. Each is loaded when first asked
        for, since a mistake in a spec should be told before a large model is there.

    Raises UsageError for what cannot be resolved.
    """

    def __init__(
        self,
        settings: Settings,
        methods: Sequence[Any],
        subjects: Sequence[Any] = (),
        progress: OnProgress = silent,
        warn: OnProgress = silent,
    ) -> None:
        self.settings = settings
        self.beside = Beside.installed()
        known = self.beside.checks
        with settings.placing_mistakes():
            self.methods: list[Method] = load_methods(methods)
            self.checks: list[Axiom] = select(settings.checks, known, settings.budget)
        # Now: the files may be edited while they are judged.
        self.sources = {method.name: method.source for method in self.methods}
        validate(settings, self.methods, {**known, **{check.name: check for check in self.checks}})
        self.subjects = name_subjects(settings, subjects)
        _expect_subjects(settings, self.subjects)
        self._progress, self._warn = progress, warn
        # By subject and method.
        self._tellers: dict[tuple[str, str], str] = {}

    @cached_property
    def run(self) -> Run:
        """What the items share, in the store of the settings. Raises UsageError."""
        with self.settings.placing_mistakes():
            return run_of(self.settings, progress=self._progress, warn=self._warn)

    @cached_property
    def cases(self) -> list[Case]:
        """Every method with every check on every subject, in the order in which they are judged.

        One subject after the other, so that it can be let go of.
        """
        return [
            Case(subject, method, check)
            for subject in self.subjects
            for method in self.methods
            for check in self.checks
        ]

    @property
    def is_on_several(self) -> bool:
        """Whether there are several subjects, so that one has to be told from the others."""
        return len(self.subjects) > 1

    def id_of(self, case: Case) -> str:
        """METHOD::CHECK, where there are several subjects with that before it."""
        names = [case.subject.label] if self.is_on_several else []
        return "::".join([*names, case.method.name, case.check.name])

    def prepare(self) -> None:
        """Load each subject that no package vouches for, so that its mistakes are told at once.

        Raises UsageError. They wait where their makers left them: of several models one is on the device.
        """
        for subject in self.subjects:
            if not subject.is_installed:
                self._tell_of_loading(subject, subject.load)

    def load(self, subject: NamedSubject) -> Subject:
        """One of the subjects, on the run's device. Raises UsageError."""
        return self._tell_of_loading(subject, partial(subject.on, self.run.device))

    def _tell_of_loading(self, subject: NamedSubject, load: Callable[[], Subject]) -> Subject:
        if not subject.is_loaded:
            self.run.progress(f"loading {subject.label}")
        with self.settings.placing_mistakes():
            found = load()
            expect_distinct(self.subjects)
        return found

    def release(self, subject: NamedSubject) -> None:
        """Let go of a subject whose cases are done, and of all that this run holds of it."""
        subject.release()
        self.run.forget()

    def by_seed(self, seed: int) -> "Battery":
        """The same on other draws: of these subjects, with maps and draws of its own."""
        other = copy.copy(self)
        other.settings = replace(self.settings, seed=seed)
        other._tellers = {}
        vars(other).pop("run", None)
        return other

    def expect(self, cases: Sequence[Case]) -> None:
        """Note that all of these are judged: what a method raises whatever the check, the first one tells.

        A failure that is expected tells nothing of others.
        """
        expected = {self.id_of(case) for case in cases}
        for case in (one for one in self.cases if self.id_of(one) in expected):
            if self.expected(case) is None:
                self._tellers.setdefault((case.subject.label, case.method.name), case.check.name)

    def expected(self, case: Case) -> ExpectedFailure | None:
        """The failure that the settings expect of a case, if they do."""
        failures = self.settings.on(case.subject.label).expected_failures
        return _expected(failures, case.method, case.check)

    def judge(self, case: Case) -> Verdict:
        """The verdict on one case."""
        return self._item(case).judge(self.run)

    def measure(self, case: Case) -> Verdict:
        """The verdict on one case, whatever is expected of it."""
        return replace(self._item(case), expected_failure=None).judge(self.run)

    def _item(self, case: Case) -> Item:
        settings = self.settings.on(case.subject.label)
        found = item(settings, case.method, case.check, self.load(case.subject), self.beside)
        if found.expected_failure is None:
            told_by = self._tellers.get((case.subject.label, case.method.name), "")
            found = replace(found, told_by=told_by)
        return found

    def judge_all(self) -> Iterator[Verdict]:
        """The verdicts on all cases; a subject is let go of when the next one's turn comes."""
        self.expect(self.cases)
        for subject, cases in groupby(self.cases, key=lambda case: case.subject):
            yield from map(self.judge, cases)
            if self.is_on_several:
                self.release(subject)
