"""Reference methods, one a file in a folder of its kind: `from xattr_methods import integrated_gradients`."""

import importlib
import pkgutil

from xattr_check.core.method import Method


def __getattr__(name: str) -> Method:
    # A leading underscore means a helper, and folders are no methods.
    for module in () if name.startswith("_") else pkgutil.walk_packages(__path__, f"{__name__}."):
        if not module.ispkg and module.name.rpartition(".")[2] == name:
            found: Method = getattr(importlib.import_module(module.name), name)
            return found
    raise AttributeError(f"module {__name__!r} has no method {name!r}")
