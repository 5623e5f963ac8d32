"""The reference of what is installed, from declarations and docstrings."""

import inspect
from collections.abc import Iterator
from typing import Any

from xattr_check.core import registry
from xattr_check.core.checks import FAMILIES, Axiom, told
from xattr_check.core.method import Method
from xattr_check.core.registry import SubjectFactory
from xattr_check.report.declared import Entry, section_of_check, section_of_method, section_of_subject
from xattr_check.statistics.gate import Beats

COMMAND = "xattr-check reference --write docs/reference.md"


def of_method(method: Method) -> dict[str, Any]:
    """What a method says of itself, as JSON types."""
    return {
        "name": method.name,
        "statement": method.statement,
        "claims": sorted(method.claims),
        "stochastic": method.stochastic,
        "sensitivity": method.sensitivity,
        "control": method.control,
        "unit": method.unit,
        "needs": sorted(method.needs),
        "parameters": _parameters(method.function, 3),
        "remarks": _remarks(method.function),
    }


def of_check(check: Axiom) -> dict[str, Any]:
    """What a check says of itself, as JSON types."""
    return {
        "name": check.name,
        "statement": check.statement,
        "family": check.family,
        "gate": str(check.gate),
        "rivals": isinstance(check.gate, Beats),
        "references": list(check.gate.references),
        "reads": check.reading(),
        "cites": check.cites,
        "claimed": check.claimed,
        "advisory": dict(check.advisory),
        "needs": sorted(check.needs),
        "on": _derived(check),
        "presumes": list(check.presumes),
        "negative": list(check.negative),
        "positive": list(check.positive),
        "budget": check.cost,
        "parameters": _parameters(check.measure, 3),
        "remarks": inspect.getdoc(check.measure) or "",
    }


def of_subject(fixture: SubjectFactory) -> dict[str, Any]:
    """What a subject says of itself, as JSON types."""
    return {
        "name": fixture.name,
        "statement": fixture.statement,
        "parameters": _parameters(fixture.factory, 0),
        "remarks": _remarks(fixture.factory),
    }


def catalogue() -> dict[str, dict[str, Entry]]:
    """Everything that is installed, by kind and name. Imports all of it."""
    return {
        "methods": {name: of_method(one) for name, one in registry.methods().items()},
        "checks": {name: of_check(one) for name, one in registry.checks().items()},
        "subjects": {name: of_subject(one) for name, one in registry.subjects().items()},
    }


def _parameters(function: Any, skipped: int) -> dict[str, Any]:
    """Parameters that a spec may set, with their defaults; those without one are None."""
    found = list(inspect.signature(function).parameters.values())[skipped:]
    empty = inspect.Parameter.empty
    return {
        one.name: told(one.default)
        if isinstance(one.default, tuple)
        else one.default
        if one.default is not empty
        else None
        for one in found
        if one.kind is not one.VAR_KEYWORD and one.name != "subject"
    }


def _derived(check: Axiom) -> str | None:
    """What a check is measured on, where that is not the subject itself."""
    if check.on is None:
        return None
    return (inspect.getdoc(check.on) or "").partition("\n")[0] or "inputs made for the check"


def _remarks(function: Any) -> str:
    """A docstring but for its first line."""
    return (inspect.getdoc(function) or "").partition("\n")[2].strip()


def document() -> str:
    """The reference of everything installed, as Markdown."""
    found = catalogue()
    methods = found["methods"].values()
    parts = [
        "# Reference",
        f"Generated from the code by `{COMMAND}`; `make stale` tells where it is behind.",
        "## Checks",
        *_checks(found["checks"]),
        "## Methods",
        "Judge one with `--xattr-method=xattr:NAME`, all with `--xattr-method=all`; parameters are set as in "
        "`xattr:NAME?parameter=value`.",
        *(section_of_method(one) for one in methods if one["control"] is None),
        "### Controls",
        "Measured beside every method: no check may reward a negative one, and the positive one knows the "
        "truth.",
        *(section_of_method(one) for one in methods if one["control"] is not None),
        "## Subjects",
        "Judge on one with `--xattr-subject=NAME`; parameters are set as in `NAME?parameter=value`.",
        *(section_of_subject(one) for one in found["subjects"].values()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _checks(known: dict[str, Entry]) -> Iterator[str]:
    families = {check["family"] for check in known.values()}
    for family in [*(name for name in FAMILIES if name in families), *sorted(families - {*FAMILIES})]:
        yield f"### {family}"
        yield from (section_of_check(check) for check in known.values() if check["family"] == family)
