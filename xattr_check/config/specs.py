"""Specs: how methods, checks and subjects are named, with ?parameter=value&… of their own."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import unquote

import yaml
from torch import Tensor

from xattr_check.core.method import MEAN
from xattr_check.core.ranges import bare
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError

# What a scalar may be for what a parameter is annotated as, and how that is called. True is no number here.
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "text"),
    NoneType: ((NoneType,), "null"),
}
# What no scalar is, and what to do for one.
UNTYPED = {
    Subject: "it is given the subject that it runs on",
    Tensor: "a tensor is passed by a function of your own",
}


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
    known = _parameters(function)
    values: dict[str, Any] = {}
    for name, text in texts.items():
        value = _read_scalar(text)
        kinds = set(_kinds(known[name])) if name in known else set()
        keeps = kinds - {NoneType} == {str} and (value is not None or NoneType not in kinds)
        values[name] = text if keeps else value
    return values


def read_typed(texts: Mapping[str, str], function: Callable[..., Any]) -> dict[str, Any]:
    """The same, each of the kind that the function annotates, or that its default is of, and in its range.

    Raises UsageError for a value that is not. What is annotated as anything else may be anything.
    """
    known = _parameters(function)
    return {
        name: _within(known[name], _typed(known[name], value, texts[name]), texts[name])
        if name in known
        else value
        for name, value in read_values(texts, function).items()
    }


def _typed(parameter: inspect.Parameter, value: Any, text: str) -> Any:
    """A value of a parameter; what a whole number is written as, such as 1e3, is one."""
    kinds = _kinds(parameter)
    if float not in kinds and int in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    words, hint = [], ""
    for kind in kinds:
        if isinstance(kind, str | int | float):  # one of a Literal
            if value == kind:
                return value
            words.append(str(kind))
        elif isinstance(kind, type) and kind in UNTYPED:
            hint = UNTYPED[kind]
        elif not isinstance(kind, type) or kind not in KINDS:
            return value
        else:
            types, word = KINDS[kind]
            if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
                return value
            words.append(word)
    if not kinds:
        return value
    if parameter.name == "baseline" and Tensor in kinds:  # which the method is bound to with the subject
        words.append(MEAN)
    wanted = " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
    expected = f"{parameter.name} to be {wanted or 'left out'}"
    raise UsageError(expected=expected, came=repr(text), hint=hint)


def _within(parameter: inspect.Parameter, value: Any, text: str) -> Any:
    """A value of a parameter that lies in its range. Raises UsageError where it does not."""
    for kind, allowed in map(bare, _members(parameter.annotation)):
        if allowed is not None and isinstance(value, int | float) and value not in allowed:
            raise UsageError(expected=f"{parameter.name} to be {KINDS[kind][1]} {allowed}", came=repr(text))
    return value


def _members(annotation: Any) -> tuple[Any, ...]:
    """The annotations that a union joins; one alone is its only member."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function by name, of a builtin none."""
    for evaluate in (True, False):  # annotations may name what is imported for type checkers alone
        with suppress(Exception):
            return inspect.signature(function, eval_str=evaluate).parameters
    return {}


def _kinds(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """The types and the single values that a parameter may be; none where it may be anything."""
    annotation, default = parameter.annotation, parameter.default
    if parameter.kind is parameter.VAR_KEYWORD:
        return ()
    if annotation is parameter.empty:
        # A default of 1 is no promise that 0.5 will not do.
        own = float if type(default) is int else type(default)
        return (own,) if own in KINDS and own is not NoneType else ()
    if isinstance(annotation, str):
        words = [word.strip() for word in annotation.removeprefix("Optional[").rstrip("]").split("|")]
        named = {kind.__name__: kind for kind in KINDS} | {"None": NoneType}
        found = [named.get(word, object) for word in words]
        return (*found, *([NoneType] if annotation.startswith("Optional[") else []))
    found = []
    for one in _members(annotation):
        kind, _ = bare(one)
        found += get_args(kind) if get_origin(kind) is Literal else [kind]
    return tuple(found)


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
