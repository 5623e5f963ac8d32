"""Calls of torch functions that activations take part in, and what they do to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.overrides import resolve_name
from torch.utils import _pytree as pytree

# move: every output is a copy of one input. layer: a linear map with weights. affine: element by element,
# with constants. sum: linear in activations alone, each with coefficients of one sign. pointwise: a
# nonlinearity, element by element. maximum: each output is one of the inputs. product: linear in each of two
# factors that are activations. softmax, norm (a LayerNorm or RMSNorm): along some axes, alone.
Kind = Literal["move", "layer", "affine", "sum", "pointwise", "maximum", "product", "softmax", "norm", ""]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONVOLUTIONS = {f"conv{transposed}{n}d" for transposed in ("", "_transpose") for n in (1, 2, 3)}
PRODUCTS = {"matmul", "mm", "bmm", "einsum"}
NORMS = {"layer_norm", "rms_norm"}
DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
MOVES = DROPOUTS | _names(
    "view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze permute transpose t T mT "
    "swapaxes swapdims movedim moveaxis cat stack hstack vstack getitem select narrow index_select gather "
    "take_along_dim chunk split split_with_sizes tensor_split unbind contiguous clone detach data to float "
    "double half bfloat16 type type_as expand expand_as repeat repeat_interleave tile roll flip pad unfold "
    "pixel_shuffle pixel_unshuffle channel_shuffle where masked_fill diagonal broadcast_to requires_grad"
)
SUMS = _names("mean sum") | {f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)}
MAXIMA = _names("amax") | {f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)}
POINTWISE = _names(
    "relu relu6 leaky_relu prelu elu celu selu gelu silu mish hardswish hardtanh hardsigmoid softplus "
    "softsign sigmoid tanh logsigmoid tanhshrink softshrink hardshrink threshold clamp clamp_min clamp_max "
    "clip maximum minimum abs square pow sqrt rsqrt exp expm1 log log1p sin cos erf atan reciprocal rdiv"
)
CONSTANT = _names(
    "zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty"
)
STOPS = _names("detach data")  # of gradients; the value goes on
# They hand values to Python, or write where nothing follows them.
ESCAPES = _names("item tolist numpy __float__ __int__ __bool__ __index__ __array__ __setitem__ __set__")
ALIASES = {
    "__getitem__": "getitem", "__pow__": "pow", "__neg__": "neg", "__matmul__": "matmul", "__mul__": "mul",
    "__add__": "add", "__radd__": "add", "__iadd__": "add_", "__sub__": "sub", "__rsub__": "rsub",
    "__isub__": "sub_", "__rmul__": "mul", "__imul__": "mul_", "__div__": "div", "__truediv__": "div",
    "__idiv__": "div_", "__itruediv__": "div_", "__rdiv__": "rdiv", "__rtruediv__": "rdiv",
    "multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div", "negative": "neg",
    "concat": "cat", "concatenate": "cat", "absolute": "abs",
}  # fmt: skip


def described(func: Callable[..., Any]) -> str:
    """A torch function as a user would write it, such as torch.nn.functional.softmax."""
    return str(resolve_name(func) or getattr(func, "__name__", repr(func)))


@cache
def named(func: Callable[..., Any]) -> tuple[str, bool]:
    """The operation of a torch function whichever way it was called, and whether it writes to its input."""
    path = described(func).split(".")
    name = path[-2] if path[-1] == "__get__" else path[-1]
    name = ALIASES.get(name, name)
    if name.endswith("_") and not name.endswith("__"):
        return name[:-1], True
    return name, False


CONTAINERS = (list, tuple, dict)


class Layout(NamedTuple):
    """How the arguments of a call are put together from their leaves.

    places: how many positional arguments; names: of the others.
    nested: where there are tensors inside of lists and the like, how these are put together; every argument
        is a leaf otherwise, because pytrees cost more than the functions that are called.
    """

    places: int
    names: tuple[str, ...]
    nested: pytree.TreeSpec | None

    def arguments(self, leaves: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Positional and named arguments."""
        if self.nested is not None:
            args, kwargs = pytree.tree_unflatten(leaves, self.nested)
            return args, kwargs
        return leaves[: self.places], dict(zip(self.names, leaves[self.places :], strict=True))


def laid_apart(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], Layout]:
    """The leaves of the arguments of a call, tensors among them, and how they are put together."""
    leaves = [*args, *kwargs.values()]
    nested = None
    if any(isinstance(leaf, CONTAINERS) and _may_hold(leaf) for leaf in leaves):
        leaves, nested = pytree.tree_flatten((tuple(args), kwargs))
    return leaves, Layout(len(args), tuple(kwargs), nested)


def _may_hold(container: Any) -> bool:
    """Whether there may be tensors in a container."""
    values = container.values() if isinstance(container, dict) else container
    return any(isinstance(value, (Tensor, *CONTAINERS)) for value in values)


@dataclass(eq=False)
class Call:
    """One call of a torch function with activations among its arguments.

    sources: the activations, each once. writes: whether the function works in place, by its name.
    raw: what it returned; outputs: what the model went on with, which are leaves, so that the graph of a call
    ends at its sources.
    """

    name: str
    kind: Kind
    func: Callable[..., Any]
    leaves: list[Any]
    layout: Layout
    sources: list[Tensor]
    writes: bool
    raw: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """One argument of the call."""
        args, kwargs = self._arguments
        return args[place] if len(args) > place else kwargs.get(name, default)

    @cached_property
    def _arguments(self) -> tuple[Sequence[Any], dict[str, Any]]:
        return self.layout.arguments(self.leaves)

    def keyword(self, name: str) -> Any:
        """An argument that has no place, None where it is not given."""
        return self.argument(len(self.leaves), name)

    @property
    def constants(self) -> list[Tensor]:
        """The floating-point tensors among the arguments that are no activations."""
        sources = {id(source) for source in self.sources}
        tensors = [leaf for leaf in self.leaves if isinstance(leaf, Tensor) and id(leaf) not in sources]
        return [tensor for tensor in tensors if tensor.is_floating_point()]

    @property
    def first(self) -> int:
        """The place of the first tensor among the leaves, which an in-place function writes to."""
        return next(place for place, leaf in enumerate(self.leaves) if isinstance(leaf, Tensor))

    def apply(self, leaves: Sequence[Any]) -> tuple[Any, bool]:
        """The result for other arguments, and whether the function wrote to the first, which is spared."""
        as_called, leaves = leaves is self.leaves, list(leaves)
        place = self.first
        # An `inplace` argument may stand anywhere, and nothing else that is True does harm.
        flagged = self.name in POINTWISE | DROPOUTS and any(leaf is True for leaf in leaves)
        if self.writes or flagged or self.name in STOPS:
            as_called = False
            leaves[place] = leaves[place].clone()
        if self.name in STOPS:
            return leaves[place], False
        args, kwargs = self._arguments if as_called else self.layout.arguments(leaves)
        result = self.func(*args, **kwargs)
        return result, leaves[place] is not self.leaves[place] and leaves[place]._version > 0

    def replay(self, sources: Sequence[Tensor]) -> list[Tensor]:
        """The outputs for other sources, in the order of `sources`."""
        other = {id(old): new for old, new in zip(self.sources, sources, strict=True)}
        result, _ = self.apply([other.get(id(leaf), leaf) for leaf in self.leaves])
        found = pytree.tree_leaves(result)
        return [value for value in found if isinstance(value, Tensor) and value.is_floating_point()]

    def pull(self, arriving: Sequence[Tensor]) -> list[Tensor]:
        """Vector-Jacobian product: for each source, what arrives at the outputs, weighted by derivatives."""
        found = torch.autograd.grad(
            self.raw,
            self.sources,
            list(arriving),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return list(found)

    def signs(self) -> list[Tensor]:
        """For each source of a sum, the sign of the coefficients of each element."""
        return [weights.sign() for weights in self.pull([torch.ones_like(raw) for raw in self.raw])]


def kind_of(call: Call, occurrences: Sequence[int]) -> Kind:
    """What a call does to its activations, '' where it is none of the known kinds.

    occurrences: the activations among the arguments, each as often as it is there.
    """
    name, alone = call.name, len(occurrences) == 1
    first = id(call.argument(0, "input")) in occurrences
    if call.keyword("out") is not None or call.keyword("rounding_mode") is not None:
        return ""
    if name in DROPOUTS:
        return "" if call.argument(2, "training", True) and call.argument(1, "p", 0.5) else "move"
    if name == "batch_norm":
        return "" if call.argument(5, "training", False) or not alone else "affine"
    if name == "interpolate":
        return "move" if call.argument(3, "mode", "nearest").startswith("nearest") else "sum"
    if name in MOVES:
        return "move"
    if name in SUMS:
        return "sum"
    if name in MAXIMA:
        return "maximum"
    if name in CONVOLUTIONS or name == "linear":
        return "layer" if alone and first else ""
    if name in PRODUCTS | {"mul"} and len(occurrences) == 2:
        return "product"
    if name in PRODUCTS:
        return "layer" if alone else ""
    if name in NORMS:
        return "norm" if alone and first else ""
    if name == "softmax":
        return "softmax" if call.argument(1, "dim") is not None else ""
    if name in ("add", "sub", "rsub"):
        return "affine" if alone else "sum"
    if name in ("mul", "neg") or (name == "div" and first):
        return "affine" if alone else ""
    if alone and name in POINTWISE | {"div"}:
        shapes = [leaf.shape for leaf in call.leaves if isinstance(leaf, Tensor)]
        # Not where the other argument is larger: then it would not be element by element.
        fits = len(shapes) == 1 or torch.broadcast_shapes(*shapes) == call.sources[0].shape
        return "pointwise" if fits else ""
    return ""
