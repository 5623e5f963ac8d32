"""FullGrad."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from xattr_check.core.layouts import Image
from xattr_check.core.method import method
from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_methods._arguments import expect_images
from xattr_methods.activations._watch import is_spatial, weight_and_bias

# Functions (input, weight, bias, …); a bias runs along the last dimension of a linear map, or along channels.
WEIGHTED: set[Callable[..., Any]] = {
    *(functional.linear, functional.conv1d, functional.conv2d, functional.conv3d),
    *(functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
}
NORMS: set[Callable[..., Any]] = {functional.batch_norm, torch.batch_norm}
# Affine in what depends on the input: their value at zero is the bias.
SUMS: set[Callable[..., Any]] = {
    *(torch.add, torch.sub, torch.rsub, torch.addmm, torch.cat, Tensor.add, Tensor.add_),
    *(Tensor.sub, Tensor.sub_, Tensor.__rsub__),
}
# Their tangent σ(x) + σ′(x) (z − x) leaves a bias σ(x) − σ′(x) x, which is zero for a ReLU.
POINTWISE: set[Callable[..., Any]] = {
    *(functional.relu6, functional.hardtanh, functional.hardswish, functional.elu, functional.gelu),
    *(functional.silu, functional.mish, functional.softplus, functional.celu, functional.selu),
    *(functional.tanh, functional.sigmoid, functional.hardsigmoid, functional.logsigmoid),
    *(torch.tanh, torch.sigmoid, torch.clamp, Tensor.tanh, Tensor.sigmoid, Tensor.clamp),
}
# Two activations, as in a gate: the tangent of u v counts it twice, and leaves a bias −u v.
PRODUCTS: set[Callable[..., Any]] = {torch.mul, Tensor.mul, Tensor.mul_}


class FullGradients(NamedTuple):
    """Terms that sum to a logit.

    input: (N, *F), input times gradient. biases: for every bias, explicit or implicit and in the order of the
    computation, the bias times the gradient of what it is added to, (N, …) in the shape of that.
    """

    input: Tensor
    biases: list[Tensor]


def _depends(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _is_training(func: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    return bool(kwargs["training"] if "training" in kwargs else len(args) > 5 and args[5])


def _weighted_bias(func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor | None:
    weight, bias = weight_and_bias(*args, **kwargs)
    if bias is None or _depends(bias):  # made from the input, it is no bias
        return None
    return bias if func is functional.linear else bias.reshape(-1, *[1] * (weight.ndim - 2))


def _norm_bias(func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor | None:
    """−μ w / √(σ² + ε) + b, which is what the layer makes of zeros."""
    if not args or _is_training(func, args, kwargs):
        return None
    zero = args[0].new_zeros(1, args[0].shape[1], *[1] * (args[0].ndim - 2))
    return cast(Tensor, func(zero, *args[1:], **kwargs))


def _sum_bias(func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor | None:
    operands = args[0] if func is torch.cat else (*args, *kwargs.values())
    constant = any(not _depends(value) for value in operands)
    if not constant or not any(map(_depends, operands)):
        return None

    def absent(value: Any) -> Any:
        return torch.zeros_like(value) if _depends(value) else value

    return cast(Tensor, func(*tree_map(absent, args), **tree_map(absent, kwargs)))


def _pointwise_bias(func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor | None:
    if not args:
        return None
    with torch.enable_grad():
        point = args[0].detach().requires_grad_()
        value = func(point.clone(), *args[1:], **kwargs)  # a clone, for functions in place
        (slope,) = torch.autograd.grad(value.sum(), point)
    return cast(Tensor, value.detach() - slope * point.detach())


def _product_bias(func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor | None:
    if len(args) < 2 or not all(map(_depends, args)):
        return None
    return cast(Tensor, -(args[0] * args[1]))


BIAS_OF = {
    **dict.fromkeys(WEIGHTED, _weighted_bias),
    **dict.fromkeys(NORMS, _norm_bias),
    **dict.fromkeys(SUMS, _sum_bias),
    **dict.fromkeys(POINTWISE, _pointwise_bias),
    **dict.fromkeys(PRODUCTS, _product_bias),
}


class _Biases(TorchFunctionMode):
    """Collects bias times gradient of every function called in its scope, once a backward pass has run.

    Modules are not touched: re-used ones count at each of their calls, functions count as modules do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.terms: list[Tensor | None] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        bias = None
        if func in BIAS_OF:
            with torch.no_grad():  # before the call, which may be in place
                bias = BIAS_OF[func](func, args, kwargs)
        result = func(*args, **kwargs)
        if bias is not None and result.requires_grad:
            # A hook of a tensor sees the gradient of its value now, even where a ReLU overwrites it later.
            result.register_hook(partial(self._collect, bias, len(self.terms)))
            self.terms.append(None)
        return result

    def _collect(self, bias: Tensor, place: int, gradients: Tensor) -> None:
        self.terms[place] = bias * gradients


def full_gradients(model: nn.Module, inputs: Tensor, targets: Tensor) -> FullGradients:
    """The terms whose sum is the target's logit (Prop. 1 of [srinivas2019]), of inputs (N, *F).

    Biases are those of linear maps, convolutions and sums with a constant, and implicit ones: what a
    BatchNorm in eval mode makes of zero, and what is left at zero of the tangent of a product or of an
    activation function that is not a ReLU.
    Raises Declined where the terms do not sum to the logits: the model computes something else as well.
    """
    point = inputs.detach().requires_grad_()
    # Detached parameters: what requires a gradient depends on the input, and everything else is a constant.
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with _Biases() as found:
        logits = functional_call(model, parameters, (point,))
    selected = logits.gather(1, targets[:, None]).sum()
    (gradients,) = torch.autograd.grad(selected, point)
    terms = FullGradients(inputs * gradients, [term for term in found.terms if term is not None])
    parts = torch.stack(
        [torch.stack([term.sum(), term.abs().sum()]) for term in (terms.input, *terms.biases)]
    )
    summed, size = parts.double().sum(0).tolist()
    total = float(selected.detach())
    if not abs(summed - total) <= (size + abs(total)) * torch.finfo(inputs.dtype).eps ** 0.5:
        raise Declined(
            "fullgrad: expected a network of linear maps, BatchNorm in eval mode, products and activation "
            f"functions, came one whose terms sum to {summed:.4g} where its logits sum to "
            f"{total:.4g}; use integrated_gradients, which takes any"
        )
    return terms


def _rescaled(term: Tensor) -> Tensor:
    """|term| (N, C, h, w), from 0 to 1 in each input, summed over channels, (N, 1, h, w)."""
    size = term.abs()
    low, high = size.amin((1, 2, 3), keepdim=True), size.amax((1, 2, 3), keepdim=True)
    span = (high - low).clamp_min(torch.finfo(term.dtype).tiny)
    return (size.sum(1, keepdim=True) - term.shape[1] * low) / span


@method(claims=("permutation_equivariance",), needs=("image",))
def fullgrad(model: nn.Module, inputs: Tensor, targets: Tensor, *, memory: int = MEMORY) -> Tensor:
    """Input and bias gradients of all layers, rescaled and laid over each other, (N, 1, H, W). [srinivas2019]

    Each term of `full_gradients` gives its magnitude, from 0 to 1 in every layer and input, summed over
    channels, bilinear in the size of the input; never negative. Biases without a place, as those of a
    linear layer, are left out. memory: bytes of one chunk.
    Raises ValueError for inputs that are not images, and where full_gradients does.
    """
    expect_images("fullgrad", inputs)
    images = Image(tuple(inputs.shape[1:]))

    def explain(inputs: Tensor, targets: Tensor) -> Tensor:
        terms = full_gradients(model, inputs, targets)
        layers = [term for term in (terms.input, *terms.biases) if is_spatial(term)]
        return torch.stack([images.enlarged(_rescaled(term)) for term in layers]).sum(0)

    # The terms take as much memory again as the activations that they belong to.
    return in_chunks(explain, model, inputs, targets, memory // 2)
