"""The reference of what is installed, from declarations and docstrings."""

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from xattr_check import registry
from xattr_check.axiom import Axiom
from xattr_check.gate import Beats
from xattr_check.method import Method
from xattr_check.registry import Fixture
from xattr_check.table import FAMILIES

COMMAND = "xattr-check reference --write docs/reference.md"


def of_method(method: Method) -> dict[str, object]:
    """What a method says of itself, as JSON types."""
    return {
        "name": method.name,
        "statement": method.statement,
        "claims": sorted(method.claims),
        "stochastic": method.stochastic,
        "sensitivity": method.sensitivity,
        "control": method.control,
        "needs": sorted(method.needs),
        "parameters": _parameters(method.function, 3),
    }


def of_check(check: Axiom) -> dict[str, object]:
    """What a check says of itself, as JSON types."""
    return {
        "name": check.name,
        "statement": check.statement,
        "family": check.family,
        "gate": str(check.gate),
        "reads": check.reads,
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
    }


def of_subject(fixture: Fixture) -> dict[str, object]:
    """What a subject says of itself, as JSON types."""
    return {
        "name": fixture.name,
        "statement": fixture.statement,
        "parameters": _parameters(fixture.factory, 0),
    }


def _parameters(function: Any, skipped: int) -> dict[str, object]:
    """Parameters that a spec may set, with their defaults; those without one are None."""
    found = list(inspect.signature(function).parameters.values())[skipped:]
    empty = inspect.Parameter.empty
    return {
        one.name: None if one.default is empty else one.default
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


def text_of_check(check: Axiom) -> str:
    """A check for a terminal, 80 columns wide."""
    wrapped = [textwrap.fill(check.statement, 80)]
    if said := inspect.getdoc(check.measure):
        wrapped += ["", *(textwrap.fill(part, 80) for part in said.split("\n\n"))]
    return "\n".join([check.name, *wrapped, "", *(f"{name:<10} {text}" for name, text in _facts(check))])


def _facts(check: Axiom) -> Iterator[tuple[str, str]]:
    yield "family", check.family
    yield "gate", f"{check.gate}{f', {check.reads}' if check.reads else ''}"
    every = " and ".join(f"where the subject is {what}, else advises" for what in check.advisory)
    yield "gates", "methods that claim it" if check.claimed else f"every method {every}".rstrip()
    if check.needs:
        yield "needs", f"{', '.join(sorted(check.needs))} of the subject"
    if derived := _derived(check):
        yield "on", derived
    if check.presumes:
        yield "presumes", f"{', '.join(check.presumes)}: a method that fails it cannot pass here"
    rivals = isinstance(check.gate, Beats)
    if check.negative:
        yield "controls", f"{', '.join(check.negative)} must {'be beaten' if rivals else 'fail'}"
    elif rivals:
        yield "controls", "every negative control must be beaten"
    if check.positive:
        yield "valid", f"where {', '.join(check.positive)} passes"
    if parameters := _set(_parameters(check.measure, 3)):
        yield "set", f"{parameters}, as in `{check.name}?parameter=value`"
    if check.cost != "quick":
        yield "budget", f"{check.cost} or larger"
    if check.cites:
        yield "source", check.cites


def document() -> str:
    """The reference of everything installed, as Markdown."""
    parts = [
        "# Reference",
        f"Generated from the code by `{COMMAND}`; a test holds this page to it.",
        "## Checks",
        *_checks(),
        "## Methods",
        "Judge one with `--xattr-method=xattr:NAME`, all with `--xattr-method=all`; parameters are set as in "
        "`xattr:NAME?parameter=value`.",
        *(_method(one) for one in registry.methods().values() if one.control is None),
        "### Controls",
        "Measured beside every method: no check may reward a negative one, and the positive one knows the "
        "truth.",
        *(_method(one) for one in registry.methods().values() if one.control is not None),
        "## Subjects",
        "Judge on one with `--xattr-subject=NAME`; parameters are set as in `NAME?parameter=value`.",
        *(_subject(one) for one in registry.subjects().values()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _checks() -> Iterator[str]:
    known = registry.checks().values()
    families = {check.family for check in known}
    for family in [*(name for name in FAMILIES if name in families), *sorted(families - {*FAMILIES})]:
        yield f"### {family}"
        for check in known:
            if check.family == family:
                yield f"#### {check.name}"
                yield check.statement
                yield inspect.getdoc(check.measure) or ""
                yield "\n".join(f"- {name}: {text}" for name, text in _facts(check) if name != "family")


def _set(parameters: object) -> str:
    named = parameters.items() if isinstance(parameters, dict) else ()
    return ", ".join(f"`{k}`" if v is None else f"`{k}={v}`" for k, v in named)


def _method(method: Method) -> str:
    said = of_method(method)
    facts = [
        ("claims", ", ".join(sorted(method.claims))),
        ("needs", ", ".join(sorted(method.needs))),
        ("control", method.control or ""),
        ("parameters", _set(said["parameters"])),
        ("stochastic", "two calls may differ" if method.stochastic else ""),
        ("sensitivity", "the sign is a direction, not evidence" if method.sensitivity else ""),
    ]
    listed = "\n".join(f"- {name}: {text}" for name, text in facts if text)
    return "\n\n".join(
        filter(None, (f"#### {method.name}", method.statement, _remarks(method.function), listed))
    )


def _subject(fixture: Fixture) -> str:
    parameters = _set(of_subject(fixture)["parameters"])
    listed = f"- parameters: {parameters}" if parameters else ""
    heading = f"### {fixture.name}"
    return "\n\n".join(filter(None, (heading, fixture.statement, _remarks(fixture.factory), listed)))
