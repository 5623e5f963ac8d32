"""What the adapters have in common: the copy of the model, the parameters, the maps."""

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.core import layouts
from xattr_check.core.layouts import Beside, Layout, layout_of
from xattr_check.core.state import preserved_generators
from xattr_check.errors import LayoutError, UsageError
from xattr_check.wording import nearest
from xattr_methods._arguments import laid_out

OWN = ("model", "inputs", "targets")


def twin(model: nn.Module, *, gradients: bool = False) -> nn.Module:
    """A copy of a model that shares its weights, for a library to work on.

    Hooks, gradients, merged weights and replaced modules stay with the copy, also where the library raises.
    Its activations are not in place: libraries keep what those would overwrite.

    gradients: whether its weights ask for gradients.
    """
    shared: dict[int, Any] = {
        id(parameter): nn.Parameter(
            parameter.detach(), requires_grad=gradients and parameter.is_floating_point()
        )
        for parameter in model.parameters()
    }
    shared.update({id(buffer): buffer.detach() for buffer in model.buffers()})
    copied = copy.deepcopy(model, shared)
    for module in copied.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return copied


def unknown(library: str, name: str, known: Collection[str]) -> UsageError:
    """That a library has no such method, with the nearest ones."""
    return UsageError(f"{library} has no method {name!r}", hint=nearest(name, known))


def expect_layer(spec: str, layer: str | None, takes: bool, *, optional: bool = False) -> None:
    """Raises UsageError where a method has a layer that it does not take, or none that it takes."""
    if layer and not takes:
        raise UsageError(f"{spec} explains the input and has no layer", came=f"@{layer}")
    if takes and not layer and not optional:
        raise UsageError(f"{spec} explains a layer", hint=f"name it, for example {spec}@layer4")


def parameters_of(
    *callables: Callable[..., Any], without: Collection[str] = (), also: Mapping[str, Any] | None = None
) -> inspect.Signature:
    """(model, inputs, targets, *, …) with the parameters of a library's callables, and others."""
    found = {name: inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in OWN}
    for called in callables:
        for parameter in inspect.signature(called).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.name not in (*OWN, "self", *without):
                found[parameter.name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for name, default in (also or {}).items():
        found[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
    return inspect.Signature(list(found.values()))


def taken(called: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given parameters that a callable takes by name."""
    known = inspect.signature(called).parameters
    return {name: value for name, value in given.items() if name in known}


def documented(function: Callable[..., Tensor], signature: inspect.Signature, statement: str) -> None:
    """Show a function's parameters and what it is to those who ask."""
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__doc__ = statement


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of a library, which are about how it is called."""
    with catch_warnings():
        simplefilter("ignore")
        yield


def one_by_one(
    explain: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor, seed: int
) -> Tensor:
    """The maps of inputs (1, *F) explained alone, each with the global generators at `seed`.

    For libraries that draw from them: so a map depends on nothing but its input and the seed.
    """
    maps = []
    for row in range(len(inputs)):
        with preserved_generators(seed):
            maps.append(explain(inputs[row : row + 1], targets[row : row + 1]))
    return torch.cat(maps)


def summed(name: str, values: Tensor, inputs: Tensor, mode: str, layout: Layout | str | None) -> Tensor:
    """Values of a layer as maps of inputs: summed over channels, in the size of the inputs.

    values: (N, K, h, w) for images, (N, K, t) for signals, (N, T, K) for tokens, (N, D) for columns.
    mode: of the interpolation; `bilinear` stands for linear of whatever has neighbours.
    Raises ValueError for others.
    """
    axes = laid_out(name, inputs, layout)
    with suppress(LayoutError):
        own = layout_of(values, axes)
        if isinstance(axes, Beside):
            cells = values.sum(1, keepdim=True)
            if mode == "bilinear":
                return axes.enlarged(cells)
            smooth = {"align_corners": False} if mode == "bicubic" else {}
            return functional.interpolate(cells, size=axes.spatial, mode=mode, **smooth)
        if own.spatial == axes.spatial:
            return values if own.channels is None else values.sum(own.channels, keepdim=True)
    raise ValueError(
        f"{name}: expected a layer whose output is laid out as the input {tuple(inputs.shape)} is, "
        f"came {tuple(values.shape)}; name another layer behind @"
    )


def full(value: Any, inputs: Tensor) -> Tensor:
    """A number, or what broadcasts, as a tensor (N, *F)."""
    return torch.as_tensor(value).to(inputs).expand_as(inputs)


def grid(cells: int, inputs: Tensor, layout: Layout | str | None = None) -> Tensor:
    """(1, *F) int64: the number of the square that a pixel is in, of cells × cells, alike for all channels.

    For columns, tokens and signals, of the `cells` equal parts that a column, a token or a time is in.
    """
    axes = laid_out("feature_mask", inputs, layout)
    _, numbers = layouts.grid(axes.spatial, cells).unique(return_inverse=True)
    return axes.expand(numbers[None]).to(inputs.device).expand_as(inputs[:1]).contiguous()
