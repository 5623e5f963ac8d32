"""Methods and subjects from their specs.

MODULE:ATTRIBUTE, path/to/file.py:ATTRIBUTE, xattr:NAME, or PREFIX:NAME[@LAYER] for what an adapter knows,
each with optional ?parameter=value&…; and mutant:OPERATOR@SPEC for a method of these that is broken.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xattr_check.config.modules import render_traceback, resolve
from xattr_check.config.specs import read_typed, split
from xattr_check.core import registry
from xattr_check.core.adapter import adapt, adapters
from xattr_check.core.method import MEAN, Method, as_method
from xattr_check.core.state import preserved_generators
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.mutation.mutants import FORM, PREFIX, mutant, read_operator
from xattr_check.wording import nearest


def load_method(spec: Any, option: str = "--xattr-method") -> Method:
    """A Method from a spec or from a callable. Raises UsageError about the option."""
    if not isinstance(spec, str):
        return as_method(spec)
    if spec.startswith(f"{PREFIX}:"):
        return _load_mutant(spec, option)
    head, parameters = split(spec, option)
    prefix, _, name = head.partition(":")
    if prefix == "xattr":
        known = registry.methods()
        if name not in known:
            problem = f"no reference method {name!r}"
            raise UsageError(problem, option=option, value=spec, hint=nearest(name, known))
        found: Any = known[name]
    elif prefix in adapters():
        with _making_a_method(spec, option):
            found = _adapt(prefix, name)
    elif head in registry.methods():
        hint = f"the reference method is xattr:{head}"
        raise UsageError(option=option, value=spec, expected="MODULE:CALLABLE", hint=hint)
    else:
        found = resolve(head, option, "mymod:explain", spec=spec)
    with _making_a_method(spec, option):
        method = as_method(found, spec)
        words = {name: text for name, text in parameters.items() if (name, text) == ("baseline", MEAN)}
        numbers = {name: text for name, text in parameters.items() if name not in words}
        return method.with_parameters(spec, read_typed(numbers, method.function) | words)


def _load_mutant(spec: str, option: str) -> Method:
    """The mutant that `mutant:OPERATOR@SPEC` names. Raises UsageError."""
    operator, at, base = spec.removeprefix(f"{PREFIX}:").partition("@")
    with _making_a_method(spec, option):
        if not at or not base:
            raise UsageError(expected=FORM)
        chosen, amount = read_operator(operator)
    return replace(mutant(chosen, load_method(base, option), amount), name=spec)


@contextmanager
def _making_a_method(spec: str, option: str) -> Iterator[None]:
    """Say of an error inside which spec it is about, with the traceback of one that is not ours."""
    try:
        yield
    except UsageError as error:
        raise error.about(option, spec) from error.__cause__
    except Exception as error:
        problem = f"making the method failed:\n{render_traceback(error)}"
        raise UsageError(problem, option=option, value=spec) from error


def _adapt(prefix: str, wanted: str) -> Any:
    """What an adapter makes of NAME or NAME@LAYER. Raises UsageError."""
    name, at, layer = wanted.partition("@")
    if not name or (at and not layer):
        raise UsageError(expected=f"{prefix}:NAME or {prefix}:NAME@LAYER")
    try:
        return adapt(prefix, name, layer or None)
    except UsageError as error:
        # A module of the user's own may have the library's name.
        own = f"your own file is {prefix}.py:{name}" if Path(f"{prefix}.py").is_file() else ""
        raise error.advising(own) from error.__cause__


def load_methods(specs: Iterable[Any], option: str = "--xattr-method") -> list[Method]:
    """Methods from specs, `all` for every reference method that is not a control. Raises UsageError."""
    methods: dict[str, Method] = {}
    for spec in [specs] if isinstance(specs, str) else specs:
        if spec == "all":
            for name, reference in registry.methods().items():
                if reference.control is None:
                    methods[f"xattr:{name}"] = replace(reference, name=f"xattr:{name}")
        elif isinstance(spec, str):
            try:
                methods[spec] = load_method(spec, option)
            except UsageError as error:
                raise error.advising(_one_each(spec, option)) from error.__cause__
        else:
            method = load_method(spec, option)
            names = [method.name, *(f"{method.name}#{number}" for number in range(2, len(methods) + 2))]
            name = next(name for name in names if name not in methods)
            methods[name] = replace(method, name=name)
    return list(methods.values())


def _one_each(spec: str, option: str) -> str:
    """What to type where several specs were given with commas between; empty where there are none."""
    if not re.search(r",[\w./ -]+:", spec):
        return ""
    return f"give {option} once for each" if option == "--xattr-method" else "put spaces between them"


def load_subject(spec: Any, option: str = "--xattr-subject") -> Subject:
    """A Subject from a name, MODULE:FACTORY, a factory, or itself. Raises UsageError about the option."""
    if isinstance(spec, str):
        factory, parameters = _find_factory(spec, option)
        wrong = partial(UsageError, option=option, value=spec)
    else:
        factory, parameters = spec, {}
        wrong = partial(UsageError, option="subject")
    if isinstance(factory, Subject):
        return factory
    if not callable(factory):
        raise wrong(expected="a Subject or a function that returns one", came=type(factory).__name__)
    try:
        # Of one seed, so that all processes and all runs judge on the same subject.
        with preserved_generators(0):
            made = factory(**read_typed(parameters, factory))
    except UsageError as error:
        if error.option or not isinstance(spec, str):
            raise
        raise error.about(option, spec) from error.__cause__
    except Exception as error:
        if isinstance(error, TypeError) and error.__traceback__ and error.__traceback__.tb_next is None:
            # A wrong call: the traceback would show nothing but this line.
            raise wrong(str(error)) from None
        raise wrong(f"making the subject failed:\n{render_traceback(error)}") from error
    if not isinstance(made, Subject):
        raise wrong(expected="it to return an xattr_check.Subject", came=type(made).__name__)
    return made


def _find_factory(spec: str, option: str) -> tuple[Any, Mapping[str, str]]:
    """What a spec names, an installed subject or an object of the user's, and its parameters."""
    head, parameters = split(spec, option)
    if ":" in head:
        return resolve(head, option, "mymod:make_subject", "FACTORY", spec), parameters
    known = registry.subjects()
    if head not in known:
        raise UsageError(
            option=option,
            value=spec,
            expected=f"MODULE:FACTORY, for example mymod:make_subject, or one of {', '.join(known)}",
        )
    return known[head], parameters
