"""Specs: how methods, checks and subjects are named, with ?parameter=value&… of their own."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import yaml

from xattr_check.errors import UsageError


def split(spec: str, option: str) -> tuple[str, dict[str, str]]:
    """Split a spec into what stands before its parameters, and the texts of these by name.

    Raises UsageError about the option for what is no parameter.
    """
    head, _, tail = spec.partition("?")
    parameters: dict[str, str] = {}
    for item in filter(None, tail.split("&")):
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(
                option=option, value=spec, expected="parameters as ?name=value&name=value", came=repr(item)
            )
        parameters[key] = unquote(value)
    return head, parameters


def read_values(texts: Mapping[str, str], function: Callable[..., Any]) -> dict[str, Any]:
    """Read the parameters of a function as YAML scalars.

    What the function annotates as text stays as it is, so that `layer=1.10` is a name and no number.
    """
    values: dict[str, Any] = {}
    for name, text in texts.items():
        value = _read_scalar(text)
        values[name] = text if value is not None and _is_text(function, name) else value
    return values


def _read_scalar(text: str) -> Any:
    """A YAML scalar; to YAML 1.1, which PyYAML reads, 1e-6 is text, and to nobody else."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value) if value[-1:].isdigit() else value
    return value


def _is_text(function: Callable[..., Any], parameter: str) -> bool:
    known = inspect.signature(function).parameters
    annotation = known[parameter].annotation if parameter in known else None
    return annotation in (str, "str", str | None, "str | None", "Optional[str]")
