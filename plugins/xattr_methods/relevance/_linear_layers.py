"""The linear layers of a tape, with the BatchNorms and other affine maps behind them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xattr_methods.relevance._calls import CONVOLUTIONS, PRODUCTS, Call


@dataclass(eq=False)
class Layer:
    """A linear map with weights, together with the affine maps behind it that act on whole channels.

    weight, bias: of all of them as one map; bias broadcasts to the output. chain: the calls, first to last.
    """

    source: Tensor
    weight: Tensor
    bias: Tensor | None
    chain: tuple[Call, ...]

    @property
    def output(self) -> Tensor:
        """What the map gives for its source."""
        return self.chain[-1].outputs[0]

    @property
    def negated(self) -> "Layer":
        """The layer with its weights negated, and no bias."""
        return replace(self, weight=-self.weight, bias=None)

    @property
    def channel(self) -> int:
        """The dimension of the output that counts rows of the weight, from the back; 0 where none does."""
        call = self.chain[0]
        if call.name in CONVOLUTIONS:
            return -1 - int(call.name[-2])
        behind = call.name in ("matmul", "mm") and call.argument(1, "other") is _weight(call)
        return -1 if call.name == "linear" or (behind and self.weight.ndim == 2) else 0

    @property
    def tiles(self) -> bool:
        """Whether it is a convolution of patches that do not overlap, a dense layer on each."""
        call = self.chain[0]
        if call.name not in CONVOLUTIONS or "transpose" in call.name:
            return False
        kernel = tuple(self.weight.shape[2:])
        strides = call.argument(3, "stride", 1)
        strides = (strides,) * len(kernel) if isinstance(strides, int) else tuple(strides)
        return kernel == strides * (len(kernel) // len(strides)) and max(kernel) > 1

    def apply(self, source: Tensor, weight: Tensor) -> Tensor:
        """The map with another source and weight, without a bias."""
        call = self.chain[0]
        args, kwargs = call.layout.arguments(call.leaves)
        if call.name in PRODUCTS:
            other = {id(self.source): source, id(_weight(call)): weight}
            leaves = [other.get(id(leaf), leaf) for leaf in call.leaves]
            args, kwargs = call.layout.arguments(leaves)
        else:
            given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            given |= {"input": source, "weight": weight, "bias": None}
            args = (given.pop("input"), given.pop("weight"), given.pop("bias"), *args[3:])
            kwargs = given
        result: Tensor = call.func(*args, **kwargs)
        return result

    def pull(self, arriving: Tensor) -> Tensor:
        """Vector-Jacobian product of the whole map."""
        for call in reversed(self.chain):
            (arriving,) = call.pull([arriving])
        return arriving


def _weight(call: Call) -> Tensor:
    """The constant factor of a linear map."""
    if call.name not in PRODUCTS:
        found: Tensor = call.argument(1, "weight")
        return found
    return call.constants[0]


def layer_of(call: Call) -> Layer:
    """The linear map of a call of the kind `layer`."""
    weight = _weight(call).detach()
    bias = None if call.name in PRODUCTS else call.argument(2, "bias")
    if bias is not None:
        dimensions = int(call.name[-2]) if call.name in CONVOLUTIONS else 0
        bias = bias.detach().reshape(-1, *[1] * dimensions)
    return Layer(call.sources[0], weight, bias, (call,))


def merged(layer: Layer, call: Call) -> Layer | None:
    """The layer with an affine call behind it as one map, None where that does not scale whole channels."""
    output, channel = layer.output, layer.channel
    if not channel or call.outputs[0].shape != output.shape:
        return None
    probe_row = output.new_zeros(1, *output.shape[1:]).requires_grad_()
    with torch.enable_grad():
        (shift,) = call.replay([probe_row])
    if shift.shape != probe_row.shape:
        return None
    (scale,) = torch.autograd.grad(shift.sum(), probe_row)
    rows = scale.movedim(channel, 0).flatten(1)
    if bool((rows != rows[:, :1]).any()):
        return None
    factors = rows[:, 0]
    bias = shift.detach() if layer.bias is None else shift.detach() + scale * layer.bias
    name, weight = layer.chain[0].name, layer.weight
    if name in PRODUCTS:
        weight = weight * factors
    elif "transpose" in name:
        groups = layer.chain[0].argument(6, "groups", 1)
        spread = factors.reshape(groups, -1).repeat_interleave(len(weight) // groups, 0)
        weight = weight * spread.reshape(*spread.shape, *[1] * (weight.ndim - 2))
    else:
        weight = weight * factors.reshape(-1, *[1] * (weight.ndim - 1))
    return replace(layer, weight=weight, bias=bias, chain=(*layer.chain, call))


def safe(values: Tensor) -> Tensor:
    """A denominator that gives nothing where it is zero: infinite there, and otherwise as it is."""
    kind = torch.finfo(values.dtype)
    # The range of float16 is so short that what is far from its smallest number is no longer near zero.
    tiny = min(kind.tiny / kind.eps, max(kind.tiny, kind.eps**2))
    return values.masked_fill(values.abs() <= tiny, float("inf"))
