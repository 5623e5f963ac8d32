"""The units of a layer: the channels of what it returns, each a map."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen
from xattr_check.core.layouts import Beside, Layout, layout_of
from xattr_check.errors import ConceptError, LayoutError


@dataclass(frozen=True)
class Units:
    """The units of a layer, which returns (n, K, *cells) for inputs (n, *F).

    axes: the layout of the inputs. layer: a module's name. call: which of its calls, from 0.
    count: K, how many units there are. cells: how many places each has along each axis.
    """

    axes: Beside
    layer: str
    call: int
    count: int
    cells: tuple[int, ...]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Tensor,
        layer: str | None = None,
        call: int = -1,
        layout: Layout | str | None = None,
    ) -> "Units":
        """The units of a layer, by default of the last module without others that returns more than a cell.

        Raises ConceptError for inputs without neighbours, a layer that there is not, a call that is not made,
        and for what a layer returns where it is no map of cells.
        """
        axes = _axes_of(inputs, layout)
        if not len(inputs):
            raise ConceptError(expected=f"{axes.name}s {axes.axes} with N ≥ 1", came=str(tuple(inputs.shape)))
        names = {name: module for name, module in model.named_modules() if name}
        if layer is not None and layer not in names:
            known = ", ".join(name for name in names if "." not in name)
            raise ConceptError(
                option="layer", value=layer, expected=f"a module of the model, for example one of {known}"
            )
        watched = [name for name, module in names.items() if not [*module.children()]]
        calls = _calls(model, inputs, watched if layer is None else [layer])
        if layer is None:
            spatial = [name for name, returned in calls if _is_spatial(returned, inputs)]
            if not spatial:
                raise ConceptError(
                    expected="a model with a module that returns (N, K, *cells) with more than one cell",
                    came="none",
                )
            layer = spatial[-1]
        own = [returned for name, returned in calls if name == layer]
        if not -len(own) <= call < len(own):
            raise ConceptError(
                option="layer", value=layer, expected=f"call={call} of it", came=f"{len(own)} calls"
            )
        returned = own[call]
        if not _is_spatial(returned, inputs):
            came = str(tuple(returned.shape)) if isinstance(returned, Tensor) else type(returned).__name__
            expected = "one that returns (N, K, *cells) with more than one cell"
            raise ConceptError(option="layer", value=layer, expected=expected, came=came)
        return cls(axes, layer, call % len(own), returned.shape[1], tuple(returned.shape[2:]))

    @property
    def places(self) -> int:
        """How many places a unit has on one input."""
        return torch.Size(self.cells).numel()

    @torch.no_grad()
    def activations(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """(n, K, *cells): what the units are on inputs."""
        kept: list[Tensor] = []

        def keep(activation: Tensor) -> None:
            # A copy: what follows may be a ReLU in place.
            kept.append(activation.clone(memory_format=torch.contiguous_format))

        with self.through(model, keep):
            model(inputs)
        return kept[0]

    @contextmanager
    def through(self, model: nn.Module, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        """A scope in which the model goes on with what `see` makes of the units, or as it is for None."""
        calls = 0

        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            nonlocal calls
            calls += 1
            return see(output) if calls == self.call + 1 else None

        handle = model.get_submodule(self.layer).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


def in_training() -> ConceptError:
    """The error of a model whose statistics a forward pass would change."""
    return ConceptError(expected="a model in eval mode", came="one in training", hint="call model.eval()")


def _axes_of(inputs: Tensor, layout: Layout | str | None) -> Beside:
    try:
        axes = layout_of(inputs, layout)
    except LayoutError as error:
        raise ConceptError(str(error)) from None
    if not isinstance(axes, Beside):
        raise ConceptError(
            expected="images (N, C, H, W), signals or volumes", came=f"{axes.name} {tuple(inputs.shape)}"
        )
    return axes


def _calls(model: nn.Module, inputs: Tensor, names: list[str]) -> list[tuple[str, Any]]:
    """Names of modules in the order in which they return, and what they return for the first input."""
    found: list[tuple[str, Any]] = []

    def noting(name: str) -> Callable[..., None]:
        return lambda module, args, output: found.append((name, output))

    handles = [model.get_submodule(name).register_forward_hook(noting(name)) for name in names]
    try:
        with torch.no_grad(), chosen(slice(1)):
            model(inputs[:1])
    finally:
        for handle in handles:
            handle.remove()
    return found


def _is_spatial(returned: Any, inputs: Tensor) -> bool:
    """Whether what a module returns for the first input is (1, K, *cells), with more than one cell."""
    return (
        isinstance(returned, Tensor)
        and returned.is_floating_point()
        and returned.ndim == inputs.ndim
        and len(returned) == 1
        and returned.shape[2:].numel() > 1
    )
