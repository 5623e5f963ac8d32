"""Where a bottleneck is put: one call of a layer, whose output is seen or replaced."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Size, Tensor, nn

from xattr_check.core.context import chosen
from xattr_check.core.layouts import Beside, Layout
from xattr_check.errors import Declined
from xattr_methods.activations._tokens import patches
from xattr_methods.activations._watch import CELLS, Watch, leaves_of, watching

Names = str | list[str] | tuple[str, ...]


class Opened(Watch):
    """A watch that counts what may be the layer's output, and may put something else in place of one.

    at: the number of the one that is meant, None while that is not known. put: what is put there.
    tokens: how many an output has to have where inputs are tokens, and outputs (N, T, E); else None.
    shapes: of all of them, without the axis of the batch.
    """

    def __init__(
        self,
        layer: str | None,
        axes: int,
        tokens: int | None,
        at: int | None = None,
        put: Tensor | None = None,
    ) -> None:
        super().__init__(layer, axes)
        self.tokens, self.at, self.put = tokens, at, put
        self.shapes: list[tuple[int, ...]] = []
        self.found: Tensor | None = None

    def note(self, output: Any, *, known: bool = False) -> Any:
        """Meet an output that may be the layer's, where none is named."""
        if self.tokens is not None or not self.is_meant(output, known):
            return output
        self.activations = [output]
        return self.keep(output)

    def read(self, output: Any) -> Any:
        """Meet an output that has as many tokens as the inputs."""
        own = _first(output)
        if not isinstance(own, Tensor) or own.ndim != 3 or own.shape[1] != self.tokens:
            return output
        return self.keep(output)

    def keep(self, output: Any) -> Any:
        """Meet an output of the layer, and go on with what is put there."""
        own = _first(output)
        self.shapes.append(tuple(own.shape[1:]) if isinstance(own, Tensor) else ())
        if len(self.shapes) - 1 != self.at:
            return output
        # So that an in-place ReLU behind the layer cannot change what was found.
        self.found = own.clone()
        if self.put is None:
            return output
        if own is output:
            return self.put
        several = (self.put, *output[1:])
        return several if type(output) is tuple else type(output)(*several)  # a named tuple


def _first(output: Any) -> Any:
    """An output, or the first of several, as of an LSTM."""
    return output[0] if isinstance(output, tuple) and output else output


@dataclass(frozen=True)
class Place:
    """One call of a layer of a model.

    layer: a module's name; None for outputs that are found by what they are. number: of the call, among all
        of the layer, or among all outputs that may be meant.
    shape: of one output. axes: of the inputs, as their layout says.
    """

    layer: str | None
    number: int
    shape: tuple[int, ...]
    axes: Layout

    @property
    def cells(self) -> tuple[int, ...]:
        """How many cells there are along each axis of inputs that lie beside each other; else none."""
        beside = isinstance(self.axes, Beside) and len(self.shape) == len(self.axes.shape)
        return self.shape[1:] if beside else ()

    def outputs(self, model: nn.Module, inputs: Tensor, put: Tensor) -> Tensor:
        """(m, K): the model's outputs where it goes on with `put` (m, *shape) behind the layer."""
        with watching(model, self._opened(put)) as watch, _reading(model, watch):
            outputs: Tensor = model(inputs)
        return outputs

    def seen(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(n, *shape) the layer's output for inputs (n, *F), and (n, K) the model's."""
        with watching(model, self._opened(None)) as watch, _reading(model, watch):
            outputs: Tensor = model(inputs)
        if watch.found is None or len(watch.found) != len(inputs):
            raise ValueError(
                f"layer={self.layer!r}: expected a layer that returns as many rows as it has inputs, (N, …)"
            )
        return watch.found, outputs

    def _opened(self, put: Tensor | None) -> Opened:
        return Opened(self.layer, len(self.axes.shape) + 1, _tokens(self.axes), self.number, put)

    def on_features(self, name: str, model: nn.Module, inputs: Tensor, bits: Tensor) -> Tensor:
        """(N, *map_shape): bits (N, *shape) of the layer where inputs have their features, of the same sum.

        Raises ValueError in the name of a method for a layer that has no cell or token for each of them.
        """
        if self.cells:
            return _spread(self.axes, bits.sum(1, keepdim=True))
        if isinstance(self.axes, Beside) and len(self.shape) == 2:
            with torch.no_grad(), chosen(slice(1)), watching(model, Watch(None, inputs.ndim)) as watch:
                model(inputs[:1])
            cells = patches(self.axes, watch.convolved, self.shape[0])
            if cells:  # what is no patch stands before the others
                patched = bits.sum(2)[:, -Size(cells).numel() :].unflatten(1, cells)
                return _spread(self.axes, patched.unsqueeze(1))
        elif len(self.shape) == 2 and self.shape[:1] == self.axes.spatial:
            return self.axes.maps(bits.sum(2))
        shape = ", ".join(map(str, self.shape))
        raise ValueError(
            f"{name}: layer={self.layer!r}: expected a layer with a cell, a patch or a token for each "
            f"feature of {self.axes.name} {self.axes.spatial}, came one that returns (N, {shape})"
        )


def _spread(axes: Layout, cells: Tensor) -> Tensor:
    """(N, 1, *spatial): numbers of cells (N, 1, *cells), linear between them, of the same sum."""
    assert isinstance(axes, Beside)
    enlarged = axes.enlarged(cells)
    sums = [one.flatten(1).sum(1).reshape(-1, *[1] * (cells.ndim - 1)) for one in (cells, enlarged)]
    return enlarged * (sums[0] / sums[1].where(sums[1] > 0, torch.ones_like(sums[1])))


def _tokens(axes: Layout) -> int | None:
    """How many tokens inputs are, None where they are none."""
    return axes.spatial[0] if axes.channels == -1 else None


class _reading:
    """Lets a watch meet what leaf modules return, where inputs are tokens and no layer is named."""

    def __init__(self, model: nn.Module, watch: Opened) -> None:
        self.model, self.watch = model, watch
        self.handles: list[Any] = []

    def __enter__(self) -> None:
        if self.watch.layer or self.watch.tokens is None:
            return
        hook: Callable[..., Any] = lambda _module, _args, output: self.watch.read(output)  # noqa: E731
        self.handles = [module.register_forward_hook(hook) for _, module in leaves_of(self.model)]

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def find_place(
    name: str, model: nn.Module, inputs: Tensor, axes: Layout, layer: str | None = None, call: int = -1
) -> Place:
    """The call of a layer that is meant: by default the last output that lies beside each other as inputs do.

    That is an activation (N, C, *cells) of more than one cell, of whatever makes it, as gradcam finds it; of
    tokens the last (N, T, E) of a module, such as an LSTM. call: which call of a named layer.
    Raises ValueError for a layer that there is not, and for a call of none, and Declined where there is none
    to be found.
    """
    if layer is None and call != -1:
        raise ValueError(f"{name}: call={call}: expected layer=NAME beside it, came no layer")
    places = _places(name, model, inputs, axes, layer)
    if layer is None:
        return places[-1]
    if not -len(places) <= call < len(places):
        raise ValueError(
            f"{name}: layer={layer!r}, call={call}: expected one of the calls of the layer, "
            f"came {len(places)} of them"
        )
    found = places[call]
    if not found.shape:
        raise ValueError(f"{name}: layer={layer!r}: expected a layer that returns one tensor (N, …)")
    return found


def find_resolutions(name: str, model: nn.Module, inputs: Tensor, axes: Layout, most: int) -> list[Place]:
    """The last output of each number of cells, from the most cells to the fewest; so many of them, the last.

    Raises Declined where there is none.
    """
    last = {place.cells or place.shape[:1]: place for place in _places(name, model, inputs, axes, None)}
    ordered = sorted(last.values(), key=lambda place: place.number)
    return ordered[-most:]


def _places(name: str, model: nn.Module, inputs: Tensor, axes: Layout, layer: str | None) -> list[Place]:
    """All outputs that may be meant. Raises Declined for none."""
    tokens = _tokens(axes)
    if layer is None and not isinstance(axes, Beside) and tokens is None:
        raise Declined(
            f"{name}: expected images (N, C, H, W), signals, volumes or tokens, came {axes.name}, "
            "none of whose features lies beside another in a layer"
        )
    watch = Opened(layer, inputs.ndim, tokens)
    with torch.no_grad(), chosen(slice(1)), watching(model, watch), _reading(model, watch):
        model(inputs[:1])
    if not watch.shapes:
        if layer is not None:
            raise ValueError(
                f"{name}: layer={layer!r}: expected a layer that the model calls, came one that it does not"
            )
        wanted = CELLS[inputs.ndim] + " with more than one cell" if tokens is None else f"(N, {tokens}, E)"
        raise Declined(f"{name}: no layer of this model returns {wanted}; name one with layer=NAME")
    whole = Place(layer, 0, (), axes)
    return [replace(whole, number=number, shape=shape) for number, shape in enumerate(watch.shapes)]
