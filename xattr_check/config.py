"""Settings: what xattr.yaml may say, read with the lines of its mistakes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from xattr_check import registry
from xattr_check.axiom import Axiom, Budget
from xattr_check.battery import Item
from xattr_check.errors import UsageError
from xattr_check.gate import AtLeast, AtMost, Beats, Gate
from xattr_check.method import Method
from xattr_check.run import BUDGETS
from xattr_check.specs import nearest
from xattr_check.subject import Subject

NAME = "xattr.yaml"
# For all methods, or for one method by its spec.
PerMethod = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do. Every field is a key of xattr.yaml and an option of the command line.

    expected_failures: reasons by check, or by method and check.
    claims: exact axioms that every method is held to, or by method.
    gates: gates by check: {at_most: x}, {at_least: x} or {beats: x}.
    save: the name to save the run under, '' for that of its commit; None not to save it, but with autosave.
    compare: the run to compare with, '' for the last one; None not to compare.
    compare_fail: rules that a change may not break, see `xattr_check.comparison_rules`.
    """

    methods: Sequence[str] = ()
    subject: str | None = None
    model: str | None = None
    data: str | None = None
    checks: str | None = None
    budget: Budget = "quick"
    seed: int = 0
    device: str = "auto"
    strict: bool = False
    storage: str = ".xattr"
    timeout: float = 300.0
    memory: int = 256
    json: str | None = None
    html: str | None = None
    markdown: str | None = None
    save: str | None = None
    autosave: bool = False
    compare: str | None = None
    compare_fail: str = ""
    gates: Mapping[str, Gate] = field(default_factory=dict)
    claims: PerMethod = field(default_factory=dict)
    expected_failures: PerMethod = field(default_factory=dict)
    # Methods that a file names beside those that the command line put in their place.
    others: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise UsageError(f"--xattr-budget={self.budget!r}: expected {', '.join(BUDGETS)}")
        if not self.timeout > 0:
            raise UsageError(f"--xattr-timeout={self.timeout:g}: expected seconds greater than 0")
        if self.memory < 1:
            raise UsageError(f"--xattr-memory={self.memory}: expected at least 1, in MiB")
        if self.compare_fail and self.compare is None:
            raise UsageError("--xattr-compare-fail: expected --xattr-compare beside it, to know with what")
        if (self.model is None) != (self.data is None):
            given, missing = ("model", "data") if self.model else ("data", "model")
            raise UsageError(
                f"--xattr-{given}: expected --xattr-{missing} beside it, for example "
                "--xattr-model=torchvision:resnet50 --xattr-data=imagefolder:PATH"
            )
        if self.model is not None and self.subject is not None:
            raise UsageError(
                "--xattr-subject: expected either it or --xattr-model with --xattr-data, came both"
            )

    @property
    def saves(self) -> bool:
        """Whether the run is to be saved."""
        return self.autosave or self.save is not None

    def told(self) -> dict[str, Any]:
        """The options that decide what is measured, where they are not as by default."""
        names = ("subject", "model", "data", "budget", "seed", "device")
        default = Settings()
        return {name: value for name in names if (value := getattr(self, name)) != getattr(default, name)}

    def overridden(self, **options: Any) -> "Settings":
        """These settings with the options that are not None in their place.

        A subject takes the place of a model with its data, and the other way round.
        """
        given = {key: value for key, value in options.items() if value is not None}
        if given.keys() & {"model", "data"}:
            given.setdefault("subject", None)
        elif "subject" in given:
            given |= {"model": None, "data": None}
        return replace(self, **given, others=(*self.methods, *self.others))


def read(path: Path) -> Settings:
    """The settings of a YAML file. Raises UsageError with the line of what is wrong in it."""
    try:
        node = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(
            f"--xattr-gates='{path}': expected a file that can be read: {error.strerror}"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    if node is None:
        return Settings()
    values: dict[str, Any] = {}
    known = {item.name for item in fields(Settings)} - {"others"}
    for key, child in _entries(path, node, "the file"):
        if key not in known:
            raise _wrong(path, child, f"unknown key {key!r}{nearest(key, known)}")
        values[key] = _gates(path, child) if key == "gates" else _plain(path, key, child)
    try:
        return Settings(**values)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _wrong(path: Path, node: yaml.Node, what: str) -> UsageError:
    return UsageError(f"{path} line {node.start_mark.line + 1}: {what}")


def _entries(path: Path, node: yaml.Node, what: str) -> Iterable[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(path, node, f"expected {what} to be a mapping, name: value")
    return [(str(key.value), value) for key, value in node.value]


def _value(path: Path, node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise _wrong(path, node, str(getattr(error, "problem", error))) from None


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "methods": ((str, list), "a spec or a list of them, for example [mymod:explain]"),
    "checks": ((str, list), "names and families, for example 'contract and not deterministic'"),
    "seed": ((int,), "a whole number"),
    "strict": ((bool,), "true or false"),
    "autosave": ((bool,), "true or false"),
    "timeout": ((int, float), "seconds"),
    "memory": ((int,), "a whole number of MiB"),
    "claims": ((list, dict), "a list of checks, or lists by method"),
    "expected_failures": ((dict,), "reasons by check, check: reason"),
}


def _plain(path: Path, key: str, node: yaml.Node) -> Any:
    value = _value(path, node)
    kinds, wanted = _KINDS.get(key, ((str,), "a text"))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise _wrong(path, node, f"{key}: expected {wanted}, came {value!r}")
    if key == "budget" and value not in BUDGETS:
        raise _wrong(path, node, f"budget: expected {', '.join(BUDGETS)}, came {value!r}")
    if isinstance(value, list):
        value = [str(one) for one in value]
    if key == "methods" and isinstance(value, str):
        return [value]
    if key == "checks" and isinstance(value, list):
        return " or ".join(f"({one})" for one in value)
    if key == "claims" and isinstance(value, list):
        return dict.fromkeys(value, True)
    if key == "expected_failures":
        _check_reasons(path, node)
    return value


def _check_reasons(path: Path, node: yaml.Node) -> None:
    for name, child in _entries(path, node, "expected_failures"):
        if isinstance(child, yaml.MappingNode):
            _check_reasons(path, child)
            continue
        reason = _value(path, child)
        if not isinstance(reason, str) or not reason:
            raise _wrong(path, child, f"expected_failures: expected a reason for {name!r}, came {reason!r}")


def _gates(path: Path, node: yaml.Node) -> dict[str, Gate]:
    kinds = {"at_most": AtMost, "at_least": AtLeast, "beats": Beats}
    found: dict[str, Gate] = {}
    for check, child in _entries(path, node, "gates"):
        for kind, number in _entries(path, child, f"the gate of {check!r}"):
            bound = _bound(check, _value(path, number))
            if kind not in kinds or isinstance(bound, bool) or not isinstance(bound, int | float):
                raise _wrong(
                    path,
                    number,
                    f"gates: expected {check}: {{at_most|at_least|beats: NUMBER}}, came {kind}: {bound!r}",
                )
            found[check] = kinds[kind](float(bound))
    return found


def _bound(check: str, value: Any) -> Any:
    """The number of a bound, without the unit in which the check counts: 200 of `200 forwards`."""
    known = registry.checks().get(check)
    number, _, unit = str(value).partition(" ")
    if known is not None and unit and unit == known.unit:
        return yaml.safe_load(number)
    return value


def validate(settings: Settings, methods: Sequence[Method], known: Mapping[str, Axiom]) -> None:
    """Raise UsageError where there is no method, or the settings name a check or a method that is not there.

    methods: those of the run; what a file says of its own other methods is no mistake.
    """
    if not methods:
        raise UsageError("--xattr-method: expected at least one, for example --xattr-method=mymod:explain")
    names = {method.name for method in methods} | {*settings.methods, *settings.others}
    for key in ("gates", "claims", "expected_failures"):
        for name, value in getattr(settings, key).items():
            nested = isinstance(value, dict | list)
            if nested and name not in names:
                raise UsageError(f"{key}: no method {name!r} in this run{nearest(name, names)}")
            for check in value if nested else (name,):
                if check not in known:
                    raise UsageError(f"{key}: no check {check!r}{nearest(str(check), known)}")


def item(settings: Settings, method: Method, check: Axiom, subject: Subject) -> Item:
    """A method against a check, with what the settings say of the pair."""
    return Item(
        method=method,
        check=check,
        subject=subject,
        gate=_gate(settings.gates.get(check.name), check),
        presumed_gates={
            name: gate
            for name in check.presumes
            if (gate := _gate(settings.gates.get(name), registry.checks()[name]))
        },
        claims=_claims(settings.claims, method),
        expected_failure=_reason(settings.expected_failures, method, check),
    )


def _gate(gate: Gate | None, check: Axiom) -> Gate | None:
    if isinstance(gate, Beats) and isinstance(check.gate, Beats):
        return replace(gate, lower=check.gate.lower)
    return gate


def _claims(claims: PerMethod, method: Method) -> frozenset[str]:
    own = claims.get(method.name)
    everyones = {name for name, value in claims.items() if value is True}
    return frozenset(everyones | set(own if isinstance(own, list) else ()))


def _reason(expected: PerMethod, method: Method, check: Axiom) -> str | None:
    own = expected.get(method.name)
    found = {**expected, **(own if isinstance(own, dict) else {})}.get(check.name)
    return found if isinstance(found, str) else None
