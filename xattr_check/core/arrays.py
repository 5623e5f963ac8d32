"""Methods that take or return NumPy arrays, as functions written for Quantus do."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Form = Literal["tensors", "arrays"]


def as_tensor(maps: Any, inputs: Tensor) -> Any:
    """An array as a tensor on the device of inputs, in their precision; anything else as it is.

    Arrays of whole numbers stay such: quantised maps are for the checks to find.
    """
    if not isinstance(maps, np.ndarray) or maps.dtype.kind not in "fiub":
        return maps
    found = torch.from_numpy(np.array(maps, order="C"))  # a copy: arrays may be read-only, or run backwards
    return found.to(inputs.device, inputs.dtype if found.is_floating_point() else found.dtype)


def as_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A tensor as an array; NumPy has no bfloat16, whose numbers are all of float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def form_of(function: Any, signature: inspect.Signature | None) -> Form | None:
    """What a function says that it takes, by its mark or by the annotation of its inputs, if it says so."""
    if getattr(function, "__xattr_numpy__", False):
        return "arrays"
    if signature is None:
        return None
    named = list(signature.parameters.values())
    given = signature.parameters.get("inputs", named[1] if len(named) > 1 else None)
    text = "" if given is None else str(given.annotation)
    says: dict[Form, bool] = {"tensors": "Tensor" in text, "arrays": "ndarray" in text or "NDArray" in text}
    chosen = [form for form, said in says.items() if said]
    return chosen[0] if len(chosen) == 1 else None


class Caller:
    """A function of (model, inputs, targets), called as it has to be.

    form: whether it takes tensors or arrays. Where it does not say so, it is given tensors; if it refuses
        them with a TypeError, an AttributeError, a ValueError or an assertion and takes arrays, it is given
        arrays from then on, and if it takes neither, the first error counts.
    keywords: whether it takes model, inputs and targets by keyword alone, as **kwargs do.
    """

    def __init__(self, function: Callable[..., Any], form: Form | None, keywords: bool) -> None:
        self.function = function
        self.form = form
        self.keywords = keywords
        # For inspect.signature and inspect.getdoc.
        self.__wrapped__ = function
        self.__doc__ = inspect.getdoc(function)

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, **parameters: Any) -> Any:
        """What the function returns."""
        if self.form == "arrays":
            return self._with_arrays(model, inputs, targets, parameters)
        if self.form == "tensors":
            return self._call(model, inputs, targets, parameters)
        before = inputs.detach().clone(), targets.clone()
        try:
            found = self._call(model, inputs, targets, parameters)
        except (TypeError, AttributeError, ValueError, AssertionError) as error:
            _put(before[0], inputs)
            _put(before[1], targets)
            try:
                found = self._with_arrays(model, inputs, targets, parameters)
            except Exception:
                raise error from None
            self.form = "arrays"
            return found
        self.form = "tensors"
        return found

    def _call(self, model: nn.Module, inputs: Any, targets: Any, parameters: dict[str, Any]) -> Any:
        if self.keywords:
            return self.function(model=model, inputs=inputs, targets=targets, **parameters)
        return self.function(model, inputs, targets, **parameters)

    def _with_arrays(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, parameters: dict[str, Any]
    ) -> Any:
        given, chosen = (as_array(tensor) for tensor in (inputs, targets))
        try:
            return self._call(model, given, chosen, parameters)
        finally:
            # On the CPU most share memory; elsewhere a change of an array must be seen as well.
            for array, tensor in ((given, inputs), (chosen, targets)):
                if tensor.device.type != "cpu" or tensor.dtype == torch.bfloat16:
                    _put(torch.from_numpy(array), tensor)


@torch.no_grad()
def _put(values: Tensor, tensor: Tensor) -> None:
    if not torch.equal(values.to(tensor), tensor):
        tensor.copy_(values)
