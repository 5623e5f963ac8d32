"""A model of a class derived from its own, which does something besides: the very same modules in it."""

import copy
from functools import partial
from typing import Any

from torch import nn

from xattr_check.errors import SubjectError


def derived(model: nn.Module, mixin: type, held: dict[str, Any], key: str, *, wanted: str) -> nn.Module:
    """An object of a class that comes of the mixin and of the model's own, with attributes of the class.

    So layers keep the names that the user gave them, and weights stay where they are; the model itself is
    left as it is. key: what tells such models apart. wanted: what needs it, for the message.

    Raises SubjectError for a model whose forward function is not that of its class.
    """
    if "forward" in vars(model):
        raise SubjectError(
            option="subject",
            expected=f"a model whose forward function is that of its class, {wanted}",
            came="one that is compiled, or was given another",
            hint="wrap it in a module whose forward calls it",
        )
    own = type(model)
    named = {**held, "__module__": own.__module__, "__doc__": own.__doc__}
    if hasattr(own, "__deepcopy__"):  # which makes an object of its own class, as a GraphModule does
        derive = partial(derived, mixin=mixin, held=held, key=key, wanted=wanted)
        named["__deepcopy__"] = lambda twin, memo: derive(copy.deepcopy(sharing(twin, own), memo))
    kind = type(own.__name__, (mixin, own), named)
    kind.__qualname__ = f"{own.__qualname__}[{key}]"
    return sharing(model, kind)


def sharing(model: nn.Module, kind: type) -> nn.Module:
    """An object of a class with the modules and weights of a model."""
    twin: nn.Module = object.__new__(kind)
    # Tables of its own, so that what is hooked to one is not to the other.
    vars(twin).update(
        {name: value.copy() if isinstance(value, dict) else value for name, value in vars(model).items()}
    )
    # What Module.compile made calls the model that it was made of.
    vars(twin).pop("_compiled_call_impl", None)
    return twin
