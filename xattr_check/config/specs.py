"""Specs: how methods and subjects are named on a command line.

MODULE:ATTRIBUTE, path/to/file.py:ATTRIBUTE, xattr:NAME, or PREFIX:NAME[@LAYER] for what an adapter knows,
each with optional ?parameter=value&….
"""

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import yaml

from xattr_check.core import registry
from xattr_check.core.adapter import adapted, adapters
from xattr_check.core.method import Method, as_method
from xattr_check.core.state import preserved_generators
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.storage.sources import ENGINE
from xattr_check.wording import nearest


def split(spec: str, option: str) -> tuple[str, dict[str, str]]:
    """A spec without its parameters, and the parameters."""
    head, _, tail = spec.partition("?")
    parameters: dict[str, str] = {}
    for item in filter(None, tail.split("&")):
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(
                f"{option}={spec!r}: expected parameters as ?name=value&name=value, came {item!r}"
            )
        parameters[key] = unquote(value)
    return head, parameters


def values(parameters: Mapping[str, str], function: Callable[..., Any]) -> dict[str, Any]:
    """Parameters of a function read as YAML scalars, and as they stand where it annotates them as text.

    So that `layer=1.10` is a name, and no number.
    """
    found: dict[str, Any] = {}
    for key, text in parameters.items():
        value = _scalar(text)
        found[key] = text if value is not None and _is_text(function, key) else value
    return found


def _scalar(text: str) -> Any:
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


def _user_module(where: str, spec: str, option: str) -> ModuleType:
    """Import a module by name, or from a file, as `python -m` would in the working directory."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if where.endswith(".py"):
        path = Path(where).resolve()
        if not path.is_file():
            raise UsageError(f"{option}={spec!r}: expected a file, {where} is not there")
        name = f"_xattr_file_{path.stem}"
        if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path):
            return sys.modules[name]
        found = importlib.util.spec_from_file_location(name, path)
        if found is None or found.loader is None:
            raise UsageError(f"{option}={spec!r}: {where} cannot be imported as Python")
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module
        try:
            found.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
    return importlib.import_module(where)


def resolve(spec: str, option: str, example: str, kind: str = "CALLABLE") -> Any:
    """The object that MODULE:ATTRIBUTE or path/to/file.py:ATTRIBUTE names.

    example, kind: what a message says to type.

    Raises UsageError where there is none; an error inside the user's own module is shown with its traceback.
    """
    where, colon, attribute = spec.rpartition(":")
    if not colon or not where or not attribute:
        module_name, dot, name = spec.rpartition(".")
        if not colon and dot and module_name and name.isidentifier() and name != "py":
            example = f"{module_name}:{name}"
        raise UsageError(f"{option}={spec!r}: expected MODULE:{kind}, for example {example}")
    try:
        module = _user_module(where, spec, option)
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (where == error.name or where.startswith(f"{error.name}.")):
            raise UsageError(
                f"{option}={spec!r}: no module {error.name!r} in {os.getcwd()} or among the installed "
                f"packages; expected MODULE:{kind}, for example {example}"
            ) from None
        raise _broken(f"{option}={spec!r}", f"importing {where}", error) from error
    except (Exception, SystemExit) as error:
        raise _broken(f"{option}={spec!r}", f"importing {where}", error) from error
    target: Any = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            names = (
                [name for name in vars(target) if not name.startswith("_")]
                if hasattr(target, "__dict__")
                else []
            )
            raise UsageError(f"{option}={spec!r}: {where} has no attribute {part!r}{nearest(part, names)}")
        target = getattr(target, part)
    return target


def _broken(label: str, doing: str, error: BaseException) -> UsageError:
    frames = traceback.extract_tb(error.__traceback__)
    # The user's own frames start after the import machinery and the engine.
    here = str(ENGINE)
    own = [f for f in frames if "importlib" not in f.filename and not f.filename.startswith(here)]
    lines = "".join(traceback.format_list(own)) + "".join(traceback.format_exception_only(error))
    return UsageError(f"{label}: {doing} failed:\n{lines.rstrip()}")


def load_method(spec: Any, option: str = "--xattr-method") -> Method:
    """A Method from a spec or from a callable. Raises UsageError."""
    if not isinstance(spec, str):
        return as_method(spec)
    head, parameters = split(spec, option)
    prefix, _, name = head.partition(":")
    if prefix == "xattr":
        known = registry.methods()
        if name not in known:
            raise UsageError(f"{option}={spec!r}: no reference method {name!r}{nearest(name, known)}")
        found = known[name]
    elif prefix in adapters():
        found = _adapted(prefix, name, spec, option)
    else:
        if ":" not in head and head in registry.methods():
            raise UsageError(
                f"{option}={spec!r}: expected MODULE:CALLABLE; the reference method is xattr:{head}"
            )
        found = _checked(resolve(head, option, "mymod:explain"), spec, option)
    return _with_parameters(found, spec, option, parameters)


def _adapted(prefix: str, wanted: str, spec: str, option: str) -> Method:
    name, at, layer = wanted.partition("@")
    if not name or (at and not layer):
        raise UsageError(f"{option}={spec!r}: expected {prefix}:NAME or {prefix}:NAME@LAYER")
    try:
        made = adapted(prefix, name, layer or None)
    except UsageError as error:
        # A module of the user's own may have the library's name.
        own = f"; your own file is {prefix}.py:{name}" if Path(f"{prefix}.py").is_file() else ""
        raise UsageError(f"{option}={spec!r}: {error}{own}") from None
    except Exception as error:
        raise _broken(f"{option}={spec!r}", "making the method", error) from error
    return _checked(made, spec, option)


def _checked(value: Any, spec: str, option: str) -> Method:
    try:
        return as_method(value, spec)
    except UsageError as error:
        raise UsageError(str(error).replace(f"method {spec!r}", f"{option}={spec!r}")) from None
    except Exception as error:
        raise _broken(f"{option}={spec!r}", "making the method", error) from error


def _with_parameters(found: Method, spec: str, option: str, parameters: Mapping[str, str]) -> Method:
    try:
        return found.with_parameters(spec, values(parameters, found.function))
    except UsageError as error:
        raise UsageError(str(error).replace(f"method {spec!r}", f"{option}={spec!r}")) from None


def load_methods(specs: Iterable[Any], option: str = "--xattr-method") -> list[Method]:
    """Methods from specs; `all` stands for every reference method that is not a control."""
    found: dict[str, Method] = {}
    for spec in specs:
        if spec == "all":
            for name, reference in registry.methods().items():
                if reference.control is None:
                    found[f"xattr:{name}"] = reference.with_parameters(f"xattr:{name}", {})
        elif isinstance(spec, str):
            found[spec] = load_method(spec, option)
        else:
            one = load_method(spec, option)
            names = [one.name, *(f"{one.name}#{number}" for number in range(2, len(found) + 2))]
            name = next(name for name in names if name not in found)
            found[name] = replace(one, name=name)
    return list(found.values())


def load_subject(spec: Any, option: str = "--xattr-subject") -> Subject:
    """A Subject from a name, MODULE:FACTORY, a factory, or itself. Raises UsageError."""
    if isinstance(spec, Subject):
        return spec
    parameters: dict[str, str] = {}
    if isinstance(spec, str):
        head, parameters = split(spec, option)
        known = registry.subjects()
        if ":" not in head:
            if head not in known:
                raise UsageError(
                    f"{option}={spec!r}: expected MODULE:FACTORY, for example mymod:make_subject, or one of "
                    f"{', '.join(known)}"
                )
            factory: Any = known[head]
        else:
            factory = resolve(head, option, "mymod:make_subject", "FACTORY")
    else:
        factory = spec
    if isinstance(factory, Subject):
        return factory
    label = f"{option}={spec!r}" if isinstance(spec, str) else "subject"
    if not callable(factory):
        raise UsageError(
            f"{label}: expected a Subject or a function that returns one, came {type(factory).__name__}"
        )
    try:
        # Of one seed, so that all processes and all runs judge on the same subject.
        with preserved_generators(0):
            made = factory(**values(parameters, factory))
    except UsageError:
        raise
    except Exception as error:
        if isinstance(error, TypeError) and error.__traceback__ and error.__traceback__.tb_next is None:
            # A wrong call: the traceback would show nothing but this line.
            raise UsageError(f"{label}: {error}") from None
        raise _broken(label, "making the subject", error) from error
    if not isinstance(made, Subject):
        raise UsageError(f"{label}: expected it to return an xattr_check.Subject, came {type(made).__name__}")
    return made
