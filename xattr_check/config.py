"""Settings: what xattr.yaml may say, read with the lines of its mistakes."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from xattr_check.yaml_nodes import compose, entries, place, shown, value, wrong

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
    compare_fail: rules that a change may not break, see `xattr_check.comparison_rules`; those of
        a file wait for a comparison.
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
    # Where a file says what of this is from it, FILE:LINE by key and names in it.
    places: Mapping[tuple[str, ...], str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise UsageError(f"--xattr-budget={self.budget!r}: expected {', '.join(BUDGETS)}")
        if not self.timeout > 0:
            raise UsageError(f"--xattr-timeout={self.timeout:g}: expected seconds greater than 0")
        if self.memory < 1:
            raise UsageError(f"--xattr-memory={self.memory}: expected at least 1, in MiB")
        # A file says the rule for whoever compares.
        if self.compare_fail and self.compare is None and ("compare_fail",) not in self.places:
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
        places = {names: at for names, at in self.places.items() if names[0] not in given}
        return replace(self, **given, others=(*self.methods, *self.others), places=places)

    def at(self, *names: str) -> str:
        """Where a file says it, as the beginning of a message; an empty string where none does."""
        found = self.places.get(names)
        return f"{found}: " if found else ""

    @contextmanager
    def located(self) -> Iterator[None]:
        """Tell of a UsageError about an option where the file says it, if it is from there."""
        try:
            yield
        except UsageError as error:
            key, quoted = error_key(str(error)), re.match(r"--xattr-[a-z-]+='([^']*)'", str(error))
            at = self.at(key, quoted[1]) if quoted else ""
            raise UsageError(f"{at or self.at(key)}{error}") from error.__cause__


def read(path: Path) -> Settings:
    """The settings of a YAML file. Raises UsageError with the line and the key of what is wrong in it."""
    try:
        node = compose(path)
    except OSError as error:
        raise UsageError(
            f"--xattr-gates='{path}': expected a file that can be read: {error.strerror}"
        ) from None
    if node is None:
        return Settings()
    values: dict[str, Any] = {}
    places: dict[tuple[str, ...], str] = {}
    known = {item.name for item in fields(Settings)} - {"others", "places"}
    for key, where, child in entries(path, node, "the file"):
        if key == "subjects":
            raise wrong(
                path,
                where,
                "subjects: a run has one subject: expected subject: NAME; for others, run again with "
                "--xattr-subject=NAME, or with a file for each, --xattr-gates=FILE",
            )
        if key not in known:
            raise wrong(path, where, f"unknown key {key!r}{nearest(key, known)}")
        values[key] = _gates(path, child) if key == "gates" else _plain(path, key, child)
        places[(key,)] = place(path, where)
        places |= {(key, *names): at for names, at in _places(path, key, child)}
    try:
        return Settings(**values, places=places)
    except UsageError as error:
        key = error_key(str(error))
        raise UsageError(f"{places.get((key,), path)}: {error}") from None


def error_key(message: str) -> str:
    """The key of the option that a message begins with, or an empty string."""
    found = re.match(r"--xattr-([a-z-]+)", message)
    name = found[1].replace("-", "_") if found else ""
    return "methods" if name == "method" else name


def _places(path: Path, key: str, node: yaml.Node) -> Iterator[tuple[tuple[str, ...], str]]:
    """Where the names in a key stand, by the way to them."""
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield (str(child.value),), place(path, child)
    elif isinstance(node, yaml.MappingNode):
        for name, where, child in entries(path, node, key):
            yield (name,), place(path, where)
            yield from (((name, *names), at) for names, at in _places(path, key, child))


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "methods": ((str, list), "a spec or a list of them, for example [mymod:explain]"),
    "checks": ((str, list), "names and families, for example 'contract and not deterministic'"),
    "seed": ((int,), "a whole number"),
    "strict": ((bool,), "true or false"),
    "autosave": ((bool,), "true or false"),
    "save": ((str, bool), "a name, or true for that of the git commit"),
    "compare": ((str, bool), "the name of a saved run, a file or git:REF, or true for the last run"),
    "compare_fail": ((str, list), "a rule or a list of them, for example ['p<0.01', 'any:pass->fail']"),
    "timeout": ((int, float), "seconds"),
    "memory": ((int,), "a whole number of MiB"),
    "claims": ((list, dict), "a list of checks, or lists by method"),
    "expected_failures": ((dict,), "reasons by check, check: reason"),
}


def _plain(path: Path, key: str, node: yaml.Node) -> Any:
    kinds, wanted = _KINDS.get(key, ((str,), "a text"))
    if isinstance(node, yaml.CollectionNode) and not {list, dict} & set(kinds):
        raise wrong(path, node, f"{key}: expected {wanted}, came {shown(path, node)}")
    if isinstance(node, yaml.SequenceNode):
        _check_texts(path, key, node)
    found = value(path, node)
    if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
        raise wrong(path, node, f"{key}: expected {wanted}, came {shown(path, node)}")
    if key == "budget" and found not in BUDGETS:
        raise wrong(path, node, f"budget: expected {', '.join(BUDGETS)}, came {found!r}")
    if key in ("save", "compare") and isinstance(found, bool):
        return "" if found else None
    if key == "methods" and isinstance(found, str):
        return [found]
    if key == "checks" and isinstance(found, list):
        return " or ".join(f"({one})" for one in found)
    if key == "compare_fail" and isinstance(found, list):
        return ", ".join(found)
    if key == "claims":
        return dict.fromkeys(found, True) if isinstance(found, list) else _own_claims(path, node)
    if key == "expected_failures":
        _check_reasons(path, node)
    return found


def _check_texts(path: Path, key: str, node: yaml.SequenceNode) -> None:
    for child in node.value:
        if not isinstance(child, yaml.ScalarNode) or not isinstance(value(path, child), str):
            raise wrong(path, child, f"{key}: expected texts in the list, came {shown(path, child)}")


def _own_claims(path: Path, node: yaml.Node) -> dict[str, Any]:
    """Lists of checks by method; a check with true is claimed by all."""
    for name, _, child in entries(path, node, "claims"):
        if isinstance(child, yaml.SequenceNode):
            _check_texts(path, "claims", child)
        elif isinstance(child, yaml.MappingNode) or value(path, child) is not True:
            raise wrong(
                path, child, f"claims: expected a list of checks for {name!r}, came {shown(path, child)}"
            )
    found: dict[str, Any] = value(path, node)
    return found


def _check_reasons(path: Path, node: yaml.Node, depth: int = 0) -> None:
    for name, _, child in entries(path, node, "expected_failures"):
        if isinstance(child, yaml.MappingNode) and not depth:
            _check_reasons(path, child, depth + 1)
            continue
        reason = value(path, child) if isinstance(child, yaml.ScalarNode) else None
        if not isinstance(reason, str) or not reason:
            raise wrong(
                path, child, f"expected_failures: expected a reason for {name!r}, came {shown(path, child)}"
            )


def _gates(path: Path, node: yaml.Node) -> dict[str, Gate]:
    kinds = {"at_most": AtMost, "at_least": AtLeast, "beats": Beats}
    found: dict[str, Gate] = {}
    for check, where, child in entries(path, node, "gates"):
        given = list(entries(path, child, f"the gate of {check!r}"))
        if len(given) != 1:
            raise wrong(path, where, f"gates: expected one bound for {check!r}, came {len(given)}")
        ((kind, _, number),) = given
        bound = _bound(check, value(path, number)) if isinstance(number, yaml.ScalarNode) else None
        if kind not in kinds or isinstance(bound, bool) or not isinstance(bound, int | float):
            raise wrong(
                path,
                number,
                f"gates: expected {check}: {{at_most|at_least|beats: NUMBER}}, came {kind}: "
                f"{shown(path, number)}",
            )
        if not math.isfinite(bound):
            raise wrong(path, number, f"gates: expected a finite number for {check!r}, came {bound}")
        found[check] = kinds[kind](float(bound))
    return found


def _bound(check: str, given: Any) -> Any:
    """The number of a bound, without the unit in which the check counts: 200 of `200 forwards`."""
    known = registry.checks().get(check)
    number, _, unit = str(given).partition(" ")
    if known is not None and unit and unit == known.unit:
        return yaml.safe_load(number)
    return given


def validate(settings: Settings, methods: Sequence[Method], known: Mapping[str, Axiom]) -> None:
    """Raise UsageError where there is no method, or the settings name a check or a method that is not there.

    methods: those of the run; what a file says of its own other methods is no mistake.
    """
    if not methods:
        raise UsageError("--xattr-method: expected at least one, for example --xattr-method=mymod:explain")
    names = {method.name for method in methods} | {*settings.methods, *settings.others}
    for method in methods:
        for claim in sorted(method.claims - known.keys()):
            # What is like none may be a check of a package that is not installed here.
            if near := nearest(claim, known):
                raise UsageError(f"{method.name}: it claims {claim!r}, which no check is called{near}")
    for key in ("gates", "claims", "expected_failures"):
        for name, said in getattr(settings, key).items():
            nested = isinstance(said, dict | list)
            if nested and name not in names:
                at = settings.at(key, name)
                raise UsageError(f"{at}{key}: no method {name!r} in this run{nearest(name, names)}")
            for check in said if nested else (name,):
                if check not in known:
                    at = settings.at(key, name, check) if nested else settings.at(key, name)
                    raise UsageError(f"{at}{key}: no check {check!r}{nearest(str(check), known)}")


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
