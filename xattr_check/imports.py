"""How libraries are imported: what they warn of meanwhile is nobody's fault here.

Users turn warnings into errors for the sake of their own code. A library that is imported late, while a
method is judged, would then raise in the method's place.
"""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# What Python itself shows to nobody but the author.
FOR_AUTHORS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


@contextmanager
def neutral_warnings() -> Iterator[None]:
    """Warn as Python does where nobody has said otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for kind in FOR_AUTHORS:
            warnings.simplefilter("ignore", kind)
        yield


@cache
def imported(module: str, name: str) -> Any:
    """What a library's module has under a name, imported when it is first asked for."""
    with neutral_warnings():
        return getattr(importlib.import_module(module), name)
