"""What xattr.yaml says, read with the lines of its mistakes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from xattr_check.config.settings import KEYS, Settings, Terms, any_of
from xattr_check.config.yaml_nodes import NAME, compose, entries, mistake_at, place, render, value
from xattr_check.core import registry
from xattr_check.core.expected import ExpectedFailure
from xattr_check.core.run import BUDGETS
from xattr_check.errors import UsageError
from xattr_check.statistics.gate import AtLeast, AtMost, Beats, Gate, Reaches, Within
from xattr_check.wording import nearest

# What a file may say: all settings, of which one subject may go by the name of its option.
FILE_KEYS = {item.name for item in fields(Settings)} - {"by_subject", "others", "places"} | {"subject"}

# What is said of an expected failure that a run wrote down.
ENTRY_KEYS = {item.name for item in fields(ExpectedFailure)}


def of_folder(folder: Path) -> Settings:
    """The settings of the xattr.yaml in a folder, the usual ones where there is none. Raises UsageError."""
    path = folder / NAME
    return read(path) if path.exists() else Settings()


def read(path: Path) -> Settings:
    """The settings of a YAML file. Raises UsageError with the line and the key of what is wrong in it."""
    try:
        node = compose(path)
    except OSError as error:
        raise UsageError(
            option="--xattr-gates",
            value=str(path),
            expected="a file that can be read",
            came=str(error.strerror),
        ) from None
    if node is None:
        return Settings()
    values: dict[str, Any] = {}
    places: dict[tuple[str, ...], str] = {}
    for key, where, child in entries(path, node, "the file"):
        if key not in FILE_KEYS:
            raise mistake_at(path, where, f"unknown key {key!r}", hint=nearest(key, FILE_KEYS))
        name = "subjects" if key == "subject" else key
        if name in values:
            problem = "expected either subject or subjects, came both"
            raise mistake_at(path, where, problem, hint="name all of them in subjects")
        if key == "subjects" and isinstance(child, yaml.MappingNode):
            values["by_subject"] = _by_subject(path, child)
            values[name] = list(values["by_subject"])
        else:
            values[name] = _value(path, key, child)
        places[(name,)] = place(path, where)
        places |= {(name, *names): at for names, at in _places(path, key, child)}
    try:
        return Settings(**values, places=places)
    except UsageError as error:
        raise error.at(places.get((KEYS.get(error.option, ""),), str(path))) from None


def _by_subject(path: Path, node: yaml.MappingNode) -> dict[str, Terms]:
    """What is said of each subject: of the keys of the file, those that say what methods are held to."""
    known = [item.name for item in fields(Terms)]
    found: dict[str, Terms] = {}
    for subject, _, child in entries(path, node, "subjects"):
        if isinstance(child, yaml.ScalarNode) and value(path, child) is None:
            found[subject] = Terms()
            continue
        own: dict[str, Any] = {}
        for key, where, inner in entries(path, child, f"what holds on {subject!r}"):
            if key not in known:
                hint = nearest(key, known)
                raise mistake_at(
                    path, where, f"unknown key {key!r}", option=f"subjects: {subject}", hint=hint
                )
            own[key] = _value(path, key, inner)
        found[subject] = Terms(**own)
    return found


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
    "subject": ((str,), "a text, or for several subjects: a list of them"),
    "subjects": ((str, list), "a spec, a list of them, or what holds on each by its spec"),
    "checks": ((str, list), "names and families, for example 'contract and not deterministic'"),
    "seed": ((int,), "a whole number"),
    "strict": ((bool,), "true or false"),
    "autosave": ((bool,), "true or false"),
    "save": ((str, bool), "a name, or true for that of the git commit"),
    "compare": ((str, bool), "the name of a saved run, a file or git:REF, or true for the last run"),
    "compare_fail": (
        (str, list),
        "a rule or a list of them, for example ['p<0.01 and worse>5%', 'any:pass->fail']",
    ),
    "timeout": ((int, float), "seconds"),
    "memory": ((int,), "a whole number of MiB"),
    "claims": ((list, dict), "a list of checks, or lists by method"),
    "expected_failures": ((dict,), "reasons by check, check: reason"),
}


def _value(path: Path, key: str, node: yaml.Node) -> Any:
    """What a key says, as a field of the settings."""
    return _gates(path, node) if key == "gates" else _plain(path, key, node)


def _plain(path: Path, key: str, node: yaml.Node) -> Any:
    kinds, wanted = _KINDS.get(key, ((str,), "a text"))
    if isinstance(node, yaml.CollectionNode) and not {list, dict} & set(kinds):
        raise mistake_at(path, node, option=key, expected=wanted, came=render(path, node))
    if isinstance(node, yaml.SequenceNode):
        _check_texts(path, key, node)
    found = value(path, node)
    if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
        raise mistake_at(path, node, option=key, expected=wanted, came=render(path, node))
    if key == "budget" and found not in BUDGETS:
        raise mistake_at(path, node, option=key, expected=", ".join(BUDGETS), came=repr(found))
    if key in ("save", "compare") and isinstance(found, bool):
        return "" if found else None
    if key in ("methods", "subject", "subjects") and isinstance(found, str):
        return [found]
    if key == "checks" and isinstance(found, list):
        return any_of(found)
    if key == "compare_fail" and isinstance(found, list):
        return ", ".join(found)
    if key == "claims":
        return dict.fromkeys(found, True) if isinstance(found, list) else _own_claims(path, node)
    if key == "expected_failures":
        return _expected_failures(path, node)
    return found


def _check_texts(path: Path, key: str, node: yaml.SequenceNode) -> None:
    for child in node.value:
        if not isinstance(child, yaml.ScalarNode) or not isinstance(value(path, child), str):
            raise mistake_at(path, child, option=key, expected="texts in the list", came=render(path, child))


def _own_claims(path: Path, node: yaml.Node) -> dict[str, Any]:
    """Lists of checks by method; a check with true is claimed by all."""
    for name, _, child in entries(path, node, "claims"):
        if isinstance(child, yaml.SequenceNode):
            _check_texts(path, "claims", child)
        elif isinstance(child, yaml.MappingNode) or value(path, child) is not True:
            expected = f"a list of checks for {name!r}"
            raise mistake_at(path, child, option="claims", expected=expected, came=render(path, child))
    found: dict[str, Any] = value(path, node)
    return found


def _expected_failures(path: Path, node: yaml.Node, depth: int = 0) -> dict[str, Any]:
    """Reasons, or what a run wrote down of a failure, by check; of one method under its name."""
    found: dict[str, Any] = {}
    for name, _, child in entries(path, node, "expected_failures"):
        if isinstance(child, yaml.MappingNode):
            is_entry = depth or {key.value for key, _ in child.value} & ENTRY_KEYS
            found[name] = (
                _expected_failure(path, name, child)
                if is_entry
                else _expected_failures(path, child, depth + 1)
            )
            continue
        found[name] = value(path, child) if isinstance(child, yaml.ScalarNode) else None
        if not isinstance(found[name], str) or not found[name]:
            expected = f"a reason for {name!r}"
            raise mistake_at(
                path, child, option="expected_failures", expected=expected, came=render(path, child)
            )
    return found


def _expected_failure(path: Path, check: str, node: yaml.MappingNode) -> ExpectedFailure:
    """What a run wrote down of a failure; the reason may be missing yet."""
    said: dict[str, Any] = {}
    option = f"expected_failures: {check}"
    for key, where, child in entries(path, node, option):
        if key not in ENTRY_KEYS:
            hint = nearest(key, ENTRY_KEYS)
            raise mistake_at(path, where, f"unknown key {key!r}", option=option, hint=hint)
        given = value(path, child)
        if key == "interval":
            if not _are_ends(given):
                expected = "interval: [LOW, HIGH], two numbers in their order"
                raise mistake_at(path, child, option=option, expected=expected, came=f"{given!r:.60}")
            said[key] = (float(given[0]), float(given[1]))
            continue
        if given is not None and not isinstance(given, str | date):
            raise mistake_at(path, child, option=option, expected=f"{key}: TEXT", came=render(path, child))
        said[key] = str(given or "")
    return ExpectedFailure(**said)


def _are_ends(given: Any) -> bool:
    """Whether that is a list of the ends of an interval."""
    if not isinstance(given, list) or len(given) != 2:
        return False
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in given)
    return numbers and math.isfinite(given[0]) and math.isfinite(given[1]) and given[0] <= given[1]


def _gates(path: Path, node: yaml.Node) -> dict[str, Gate]:
    kinds: dict[str, Callable[[float], Gate]] = {
        "at_most": AtMost, "at_least": AtLeast, "beats": Beats, "within": Within, "reaches": Reaches
    }  # fmt: skip
    found: dict[str, Gate] = {}
    for check, where, child in entries(path, node, "gates"):
        given = list(entries(path, child, f"the gate of {check!r}"))
        if len(given) != 1:
            expected = f"one bound for {check!r}"
            raise mistake_at(path, where, option="gates", expected=expected, came=str(len(given)))
        ((kind, _, number),) = given
        bound = _bound(check, value(path, number)) if isinstance(number, yaml.ScalarNode) else None
        if kind not in kinds or isinstance(bound, bool) or not isinstance(bound, int | float):
            raise mistake_at(
                path,
                number,
                option="gates",
                expected=f"{check}: {{{'|'.join(kinds)}: NUMBER}}",
                came=f"{kind}: {render(path, number)}",
            )
        if expected := _misfit(check, kind, bound):
            raise mistake_at(
                path, number, option="gates", expected=expected, came=f"{kind}: {render(path, number)}"
            )
        found[check] = kinds[kind](float(bound))
    return found


def _misfit(check: str, kind: str, bound: float) -> str:
    """What is expected of the gate of a check instead, or an empty string where it fits."""
    known = registry.checks().get(check)
    if not math.isfinite(bound):
        return f"a finite number for {check!r}"
    if kind in ("within", "reaches") and known is not None and not known.gate.references:
        return f"at_most, at_least or beats for {check!r}, which has no references to be near"
    if kind == "reaches" and not 0 < bound <= 1:
        return f"a share of what the references of {check!r} come to, such as 0.5"
    if kind == "reaches" and known is not None and known.gate.better == "lower":
        return f"at_most or within for {check!r}, where lower is better"
    if kind == "beats" and not 0 <= bound < 1:
        return f"a share of the way from a control to the best of all for {check!r}, such as 0.1"
    if kind == "beats" and known is not None and not math.isfinite(known.ceiling):
        return f"at_most or at_least for {check!r}, of which no best is known"
    return ""


def _bound(check: str, given: Any) -> Any:
    """The number of a bound, without the unit in which the check counts: 200 of `200 forwards`."""
    known = registry.checks().get(check)
    number, _, unit = str(given).partition(" ")
    if known is not None and unit and unit == known.unit:
        return yaml.safe_load(number)
    return given
