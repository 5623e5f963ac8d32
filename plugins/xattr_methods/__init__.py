"""Reference methods, each in a module of its own: `from xattr_methods import integrated_gradients`."""

import importlib

from xattr_check.method import Method


def __getattr__(name: str) -> Method:
    # The modules are private, so that a method and its module never share a name.
    try:
        found: Method = getattr(importlib.import_module(f"{__name__}._{name}"), name)
    except ModuleNotFoundError:
        raise AttributeError(f"module {__name__!r} has no method {name!r}") from None
    return found
