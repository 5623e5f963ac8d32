"""What methods, checks and subjects say of themselves, as JSON types, put into words.

Needs nothing of what it tells of, so that a command answers without importing it.
"""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from xattr_check.wording import WIDTH

Entry = Mapping[str, Any]


def text_of_check(check: Entry) -> str:
    """A check for a terminal, 80 columns wide."""
    paragraphs = [textwrap.fill(check["statement"], WIDTH)]
    if check["remarks"]:
        paragraphs += ["", *(textwrap.fill(part, WIDTH) for part in check["remarks"].split("\n\n"))]
    facts = [f"{name:<10} {text}" for name, text in facts_of_check(check)]
    return "\n".join([check["name"], *paragraphs, "", *facts])


def facts_of_check(check: Entry) -> Iterator[tuple[str, str]]:
    """What is declared of a check, in the order in which it is told."""
    yield "family", check["family"]
    yield "gate", ", ".join(filter(None, (check["gate"], check["reads"])))
    every = " and ".join(f"where the subject is {what}, else advises" for what in check["advisory"])
    yield "gates", "methods that claim it" if check["claimed"] else f"every method {every}".rstrip()
    if check["needs"]:
        yield "needs", f"{', '.join(check['needs'])} of the subject"
    if check["on"]:
        yield "on", check["on"]
    if check["presumes"]:
        yield "presumes", f"{', '.join(check['presumes'])}: a method that fails it cannot pass here"
    if check["negative"]:
        fate = "be beaten" if check["rivals"] else "fail"
        yield "controls", f"{', '.join(check['negative'])} must {fate}"
    elif check["rivals"]:
        yield "controls", "every negative control must be beaten"
    if check["references"]:
        yield "references", f"{', '.join(check['references'])}: what can be had on the subject"
    if check["positive"]:
        yield "valid", f"where {', '.join(check['positive'])} passes"
    if check["parameters"]:
        yield "set", f"{_listed(check['parameters'])}, as in `{check['name']}?parameter=value`"
    if check["budget"] != "quick":
        yield "budget", "full" if check["budget"] == "full" else f"{check['budget']} or larger"
    if check["cites"]:
        yield "source", check["cites"]


def section_of_check(check: Entry) -> str:
    """A check in Markdown."""
    facts = [(name, text) for name, text in facts_of_check(check) if name != "family"]
    return _section(4, check, facts)


def section_of_method(method: Entry) -> str:
    """A method in Markdown."""
    facts = [
        ("claims", ", ".join(method["claims"])),
        ("needs", ", ".join(method["needs"])),
        ("control", method["control"] or ""),
        ("unit", method["unit"]),
        ("parameters", _listed(method["parameters"])),
        ("stochastic", "two calls may differ" if method["stochastic"] else ""),
        ("sensitivity", "the sign is a direction, not evidence" if method["sensitivity"] else ""),
    ]
    return _section(4, method, facts)


def section_of_subject(subject: Entry) -> str:
    """A subject in Markdown."""
    return _section(3, subject, [("parameters", _listed(subject["parameters"]))])


def _section(level: int, entry: Entry, facts: list[tuple[str, str]]) -> str:
    listed = "\n".join(f"- {name}: {text}" for name, text in facts if text)
    heading = f"{'#' * level} {entry['name']}"
    return "\n\n".join(filter(None, (heading, entry["statement"], entry["remarks"], listed)))


def _listed(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"`{k}`" if v is None else f"`{k}={v}`" for k, v in parameters.items())
