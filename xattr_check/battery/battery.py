"""A battery: methods × checks on a subject, resolved and validated."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from xattr_check.battery.item import Item
from xattr_check.config.loaders import load_methods, load_subject
from xattr_check.config.selection import select
from xattr_check.config.settings import PerMethod, Settings
from xattr_check.core import registry
from xattr_check.core.checks import Axiom
from xattr_check.core.method import Method
from xattr_check.core.run import MEBIBYTE, OnProgress, Run, silent
from xattr_check.core.subject import Subject
from xattr_check.core.verdict import Verdict
from xattr_check.errors import UsageError
from xattr_check.statistics.gate import Beats, Gate, Within
from xattr_check.storage.store import Store
from xattr_check.wording import nearest


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device that is there. Raises UsageError otherwise."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wrong = partial(UsageError, option="--xattr-device", value=name)
    expected = "auto, cpu, cuda or cuda:N, for example cuda:0"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise wrong(expected=expected) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise wrong(
            expected=f"one of the {torch.cuda.device_count()} CUDA devices that torch sees here",
            hint="use --xattr-device=cpu, or see CUDA_VISIBLE_DEVICES",
        )
    if device.type not in ("cpu", "cuda"):
        raise wrong(expected=expected)
    return device


def validate(settings: Settings, methods: Sequence[Method], known: Mapping[str, Axiom]) -> None:
    """Raise UsageError where there is no method, or the settings name a check or a method that is not there.

    methods: those of the run; what a file says of its own other methods is no mistake.
    """
    if not methods:
        expected = "at least one, for example --xattr-method=mymod:explain"
        raise UsageError(option="--xattr-method", expected=expected)
    names = {method.name for method in methods} | {*settings.methods, *settings.others}
    for method in methods:
        for claim in sorted(method.claims - known.keys()):
            # What is like none may be a check of a package that is not installed here.
            if near := nearest(claim, known):
                problem = f"it claims {claim!r}, which no check is called"
                raise UsageError(problem, option="method", value=method.name, hint=near)
    for key in ("gates", "claims", "expected_failures"):
        for name, said in getattr(settings, key).items():
            nested = isinstance(said, dict | list)
            if nested and name not in names:
                raise UsageError(
                    f"no method {name!r} in this run",
                    option=key,
                    hint=nearest(name, names),
                    place=settings.place_of(key, name),
                )
            for check in said if nested else (name,):
                if check not in known:
                    raise UsageError(
                        f"no check {check!r}",
                        option=key,
                        hint=nearest(str(check), known),
                        place=settings.place_of(key, name, check) if nested else settings.place_of(key, name),
                    )


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
        expected_failure=_reason(settings.expected_failures, method, check),
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
    if isinstance(gate, Within):
        gate = replace(gate, of=check.gate.references)
    return gate


def _claims(claims: PerMethod, method: Method) -> frozenset[str]:
    own = claims.get(method.name)
    everyones = {name for name, value in claims.items() if value is True}
    return frozenset(everyones | set(own if isinstance(own, list) else ()))


def _reason(expected: PerMethod, method: Method, check: Axiom) -> str | None:
    own = expected.get(method.name)
    found = {**expected, **(own if isinstance(own, dict) else {})}.get(check.name)
    return found if isinstance(found, str) else None


DEFAULT_SUBJECT = "digits"


def subject_of(settings: Settings, subject: Any = None) -> Subject:
    """The subject given, else that of the settings, else the default one. Raises UsageError."""
    if settings.model is not None:
        return registry.subjects()["torchvision"](model=settings.model, data=settings.data)
    return load_subject(subject if subject is not None else settings.subject or DEFAULT_SUBJECT)


def run_of(settings: Settings, progress: OnProgress = silent) -> Run:
    """What a run shares as the settings say, in their store. Raises UsageError."""
    return Run(
        store=Store(Path(settings.storage) / "store"),
        seed=settings.seed,
        budget=settings.budget,
        device=resolve_device(settings.device),
        timeout=settings.timeout,
        memory=settings.memory * MEBIBYTE,
        progress=progress,
    )


class Battery:
    """What is to be judged, resolved and validated: methods × checks on a subject, and the run they share.

    sources: digests of the texts that the methods are from, by name.
    subject: a spec, a factory or a Subject; None for what the settings say. It is loaded when first asked
        for, since a mistake in a spec should be told before a large model is there.

    Raises UsageError for what cannot be resolved.
    """

    def __init__(
        self, settings: Settings, methods: Sequence[Any], subject: Any = None, progress: OnProgress = silent
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
        self._subject = subject if subject is not None else settings.subject or DEFAULT_SUBJECT
        self._progress = progress

    @cached_property
    def run(self) -> Run:
        """What the items share, in the store of the settings. Raises UsageError."""
        with self.settings.placing_mistakes():
            return run_of(self.settings, progress=self._progress)

    @property
    def pairs(self) -> list[tuple[Method, Axiom]]:
        """Every method with every check, in the order in which they are judged."""
        return [(method, check) for method in self.methods for check in self.checks]

    @property
    def subject_label(self) -> str:
        """What names the subject before it is loaded."""
        if self.settings.model is not None:
            return f"{self.settings.model} with {self.settings.data}"
        subject = self._subject
        return str(subject if isinstance(subject, str) else getattr(subject, "name", None) or subject)

    @property
    def subject_is_installed(self) -> bool:
        """Whether the subject is one that an installed package declares, and so holds together."""
        return self.settings.model is None and self._subject in registry.subjects()

    @cached_property
    def subject(self) -> Subject:
        """The subject on the run's device. Raises UsageError."""
        self.run.progress(f"loading {self.subject_label}")
        with self.settings.placing_mistakes():
            return subject_of(self.settings, self._subject).to(self.run.device)

    def by_seed(self, seed: int) -> "Battery":
        """The same on other draws: of this subject, with maps and draws of its own."""
        other = copy.copy(self)
        other.settings = replace(self.settings, seed=seed)
        vars(other).pop("run", None)
        return other

    def judge(self, method: Method, check: Axiom) -> Verdict:
        """The verdict on one pair."""
        return item(self.settings, method, check, self.subject, self.beside).judge(self.run)
