"""Where class activation maps find their activations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Size, Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xattr_check.core.layouts import Beside, layout_of
from xattr_check.errors import Declined
from xattr_methods.activations._tokens import patches
from xattr_methods.gradients.guided_backprop import RELUS

# An activation, by how many axes it has.
CELLS = {3: "(N, C, t)", 4: "(N, C, h, w)", 5: "(N, C, d, h, w)"}
# Tokens (N, T, E) have as many.
TOKENS = 3
CONVOLUTIONS: set[Callable[..., Any]] = {functional.conv1d, functional.conv2d, functional.conv3d}
# What makes an activation (N, C, *cells), as a function or inside a module of torch.
LAID_OUT: set[Callable[..., Any]] = {
    *(functional.conv1d, functional.conv2d, functional.conv3d, functional.conv_transpose1d),
    *(functional.conv_transpose2d, functional.conv_transpose3d, functional.batch_norm),
    *(functional.group_norm, functional.instance_norm, functional.local_response_norm),
    *(functional.max_pool1d, functional.max_pool2d, functional.max_pool3d),
    *(functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d),
    *(functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d),
    *(functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d),
    functional.interpolate,
}
# What passes one on, whatever its axes are.
PASSES: set[Callable[..., Any]] = RELUS | {
    *(functional.gelu, functional.silu, functional.elu, functional.celu, functional.selu, functional.mish),
    *(functional.relu6, functional.leaky_relu, functional.prelu, functional.hardswish, functional.hardtanh),
    *(functional.softplus, functional.pad, torch.cat),
    *(torch.sigmoid, torch.tanh, torch.add, Tensor.add, Tensor.add_),
}


def leaves_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Names and modules that hold no others."""
    return [(name, module) for name, module in model.named_modules() if not list(module.children())]


def is_torchs(module: nn.Module) -> bool:
    """Whether a module is one of torch.nn, as it comes."""
    return type(module).__module__.startswith("torch.nn.")


def is_spatial(output: Any, axes: int = 4) -> bool:
    """Whether an output is an activation (N, C, h, w), or of so many axes, of more than one cell."""
    return isinstance(output, Tensor) and output.ndim == axes and output.shape[2:].numel() > 1


def last_spatial_layer(model: nn.Module, inputs: Tensor) -> str:
    """Name of the last leaf module whose output (N, C, h, w) has more than one cell. Raises ValueError."""
    found = ""

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal found
            if is_spatial(output):
                found = name

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in leaves_of(model)]
    try:
        with torch.no_grad():
            model(inputs[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise Declined("no module of this model returns (N, C, h, w) with more than one cell")
    return found


def layer_named(model: nn.Module, layer: str) -> nn.Module:
    """The module of that name. Raises ValueError with the names there are."""
    modules = dict(model.named_modules())
    if layer not in modules:
        names = ", ".join(name for name in modules if name and "." not in name)
        raise ValueError(f"layer={layer!r}: expected a module of the model, for example one of {names}")
    found: nn.Module = modules[layer]
    return found


class Watch(TorchFunctionMode):
    """What a model computes on its way to the logits.

    convolved: the cells of all convolutions, where no layer is named.
    activations: outputs of a layer, one for each time that it is called; or, where none is named, only the
    last activation (N, C, *cells) of more than one cell, of a module or of a function called beside modules.
    classifier: weight and bias of the last linear map.
    axes: how many an activation has, as many as the inputs. With four, nothing else can be meant; with three
    it may be tokens, so that it begins with a function whose axes are known.
    """

    def __init__(self, layer: str | None, axes: int = 4) -> None:
        super().__init__()
        self.layer = layer
        self.axes = axes
        self.activations: list[Any] = []
        self.convolved: list[tuple[int, ...]] = []
        self.classifier: tuple[Tensor, Tensor | None] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in LAID_OUT:
            result = self.note(result, known=True)
        elif func in PASSES:
            result = self.note(result)
        elif func is functional.linear:
            self.classifier = weight_and_bias(*args, **kwargs)
        if func in CONVOLUTIONS:
            self.convolved.append(tuple(result.shape[2:]))
        return result

    def note(self, output: Any, *, known: bool = False) -> Any:
        """Keep an output, if it is spatial and no layer is named, and return what the model goes on with.

        known: whether its axes are.
        """
        if self.is_meant(output, known):
            self.activations = [output]
        return output

    def is_meant(self, output: Any, known: bool) -> bool:
        """Whether an output may be the layer's, where none is named. known: whether its axes are."""
        return bool(
            not self.layer
            and is_spatial(output, self.axes)
            and (
                known
                or self.axes != 3
                or (self.activations and self.activations[0].shape[2:] == output.shape[2:])
            )
        )

    def keep(self, output: Any) -> Any:
        """Keep an output of the named layer."""
        self.activations.append(output)
        # So that an in-place ReLU behind the module cannot change what was kept.
        return output.clone() if isinstance(output, Tensor) else output

    def activation(self, call: int, tokens: bool = False) -> Tensor:
        """The activation (N, C, *cells) of that call of the layer. Raises ValueError where there is none.

        tokens: whether it may be (N, T, E) in place of that, where it has an axis less than the inputs.
        """
        kept, cells = self.activations, CELLS[self.axes]
        if not self.layer and not kept:
            raise Declined(
                f"no module of this model returns {cells} with more than one cell, and no function does"
            )
        if not self.layer and call != -1:
            raise ValueError(f"call={call}: expected layer=NAME beside it, came no layer")
        if not -len(kept) <= call < len(kept):
            raise ValueError(
                f"layer={self.layer!r}, call={call}: expected one of the calls of the layer, "
                f"came {len(kept)} of them"
            )
        found = kept[call]
        allowed = {self.axes, TOKENS} if tokens and self.axes > TOKENS else {self.axes}
        if not isinstance(found, Tensor) or found.ndim not in allowed:
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"layer={self.layer!r}: expected a layer that returns {cells}, came {came}")
        return found


W = TypeVar("W", bound=Watch)


def weight_and_bias(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Those arguments of a linear map or a convolution, however they are passed."""
    return weight, bias


@contextmanager
def watch_model(
    model: nn.Module, layer: str | None, classifier: bool = False, axes: int = 4
) -> Iterator[Watch]:
    """Watch a model as it runs; for its classifier, too, if asked. Raises ValueError for an unknown layer."""
    with watching(model, Watch(layer, axes), classifier) as watch:
        yield watch


@contextmanager
def watching(model: nn.Module, watch: W, classifier: bool = False) -> Iterator[W]:
    """As `watch_model`, by a watch that may go on with something else than it sees."""
    layer = watch.layer
    if layer:
        hooked = [layer_named(model, layer)]
    else:  # torch's own are seen by their functions, at less expense
        hooked = [module for _, module in leaves_of(model) if not is_torchs(module)]
    hook = (
        (lambda _module, _args, output: watch.keep(output))
        if layer
        else (lambda _module, _args, output: watch.note(output))
    )
    handles = [module.register_forward_hook(hook) for module in hooked]
    try:
        # Functions need not be seen for a named layer, at less expense again.
        with watch if classifier or not layer else nullcontext():
            yield watch
    finally:
        for handle in handles:
            handle.remove()


def activation_and_gradient(
    model: nn.Module, inputs: Tensor, targets: Tensor, layer: str | None = None, call: int = -1
) -> tuple[Tensor, Tensor]:
    """A layer's output (N, C, *cells) and the gradient of the target's logit with respect to it.

    layer: a module's name; by default the last activation of more than one cell, of whatever makes it. call:
    which of its calls counts, for a module that is called several times. Of a layer of tokens (N, T, E),
    behind images or volumes, patches are the cells. Raises ValueError where there is no such activation, or
    where the logit does not depend on it.
    """
    with watch_model(model, layer, axes=inputs.ndim) as watch:
        logits = model(inputs.detach().requires_grad_())
    activation = watch.activation(call, tokens=True)
    selected = logits.gather(1, targets[:, None]).sum()
    (gradients,) = torch.autograd.grad(selected, activation, allow_unused=True)
    if gradients is None:
        raise ValueError(
            f"layer={layer!r}: expected a layer that the output depends on, came one that it does not; "
            "name another with layer=NAME"
        )
    if activation.ndim == inputs.ndim:
        return activation.detach(), gradients
    cells = _cells_of_tokens(model, inputs, layer, activation)
    # What is no patch stands before the others.
    patched = [one[:, -Size(cells).numel() :].mT.unflatten(2, cells) for one in (activation, gradients)]
    return patched[0].detach(), patched[1]


def _cells_of_tokens(model: nn.Module, inputs: Tensor, layer: str | None, tokens: Tensor) -> tuple[int, ...]:
    """How many patches there are of tokens (N, T, E) along each axis of inputs. Raises ValueError."""
    with torch.no_grad(), watch_model(model, None, axes=inputs.ndim) as watch:
        model(inputs[:1])
    axes = layout_of(inputs)
    assert isinstance(axes, Beside)  # images or volumes, by the number of their axes
    cells = patches(axes, watch.convolved, tokens.shape[1])
    if not cells or len(tokens) != len(inputs):
        raise ValueError(
            f"layer={layer!r}: expected a layer (N, T, E) with a token for each patch of {axes.name} "
            f"{axes.spatial}, came {tuple(tokens.shape)}"
        )
    return cells
