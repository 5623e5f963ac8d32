"""The attention weights of a model, whichever way it computes them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xattr_check.core.layouts import Layout
from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import in_chunks
from xattr_methods._arguments import laid_out
from xattr_methods._written_out import WRITTEN_OUT
from xattr_methods.activations._tokens import on_features
from xattr_methods.activations._watch import is_spatial
from xattr_methods.relevance._calls import CONVOLUTIONS, PRODUCTS, named


@dataclass(frozen=True)
class Attention:
    """What the layers of self-attention do to inputs, and how the output depends on it.

    weights: for each layer (N, heads, T, T), what each query takes of each token; of the last one
        (N, heads, L, T), where queries of its own read the tokens.
    gradients: of the explained logit with respect to the weights.
    convolved: the cells of the convolutions before the first layer.
    """

    weights: list[Tensor]
    gradients: list[Tensor]
    convolved: list[tuple[int, ...]]

    @property
    def read(self) -> Tensor:
        """(N, L): the queries of the last layer that the logit reads, in equal shares: one of a class token.

        All of them where it reads none.
        """
        reads = (self.gradients[-1] != 0).any(3).any(1)
        counted = (reads | ~reads.any(1, keepdim=True)).to(self.weights[-1])
        return counted / counted.sum(1, keepdim=True)

    @property
    def class_last(self) -> bool:
        """Whether the logits read the last token alone."""
        queries, tokens = self.weights[-1].shape[-2:]
        return queries == tokens and not bool(self.read[:, :-1].any())

    def read_out(self, mixed: Tensor) -> Tensor:
        """(N, T): the mean over the queries that the logit reads, of what each (N, L, T) takes of tokens."""
        return torch.einsum("nl,nlt->nt", self.read, mixed)


class AttentionWatch(TorchFunctionMode):
    """Notes the attention weights (…, L, S) of a model as it runs: a softmax that values are weighed by.

    A softmax is followed through dropout, masks and changes of shape to a product; one that is a probability
    never comes to it. Fused functions are written out, and torch leaves its fast path by itself where a mode
    is on.

    weights: as they enter the product. convolved: the cells of the convolutions before the first of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []
        self.convolved: list[tuple[int, ...]] = []
        self._softmaxes: dict[int, Tensor] = {}  # held, so that no other tensor takes the id of one

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if written_out := WRITTEN_OUT.get(func):
            with self:
                return written_out(*args, **kwargs)
        name, _ = named(func)
        given = [one for one in (*args, *kwargs.values()) if id(one) in self._softmaxes]
        if name in PRODUCTS:
            self.weights += given[:1]
        result = func(*args, **kwargs)
        if name in CONVOLUTIONS and not self.weights and is_spatial(result, result.ndim):
            self.convolved.append(tuple(result.shape[2:]))
        if name == "softmax":
            found = _is_over_keys(result, *args[1:], **kwargs)
        else:
            found = bool(given) and name not in PRODUCTS and _is_alike(result, given[0])
        if found:
            self._softmaxes[id(result)] = result
        return result


def _is_over_keys(result: Tensor, dim: int | None = None, *rest: Any, **options: Any) -> bool:
    """Whether a softmax with those arguments is over the last axis of (…, L, S)."""
    return result.ndim >= 3 and dim is not None and dim % result.ndim == result.ndim - 1


def _is_alike(result: Any, weights: Tensor) -> bool:
    """Whether what a function made of weights (…, L, S) is again weights of the same queries and keys."""
    return isinstance(result, Tensor) and result.ndim >= 3 and result.shape[-2:] == weights.shape[-2:]


def attention_of(name: str, model: nn.Module, inputs: Tensor, targets: Tensor) -> Attention:
    """The attention that the targets' logits depend on. Raises Declined in the name of a method."""
    with AttentionWatch() as watch:
        logits = model(inputs.detach().requires_grad_())
    selected = logits.gather(1, targets[:, None]).squeeze(1)
    differentiable = [one for one in watch.weights if one.requires_grad]
    slopes: tuple[Tensor | None, ...] = ()
    if differentiable:
        slopes = torch.autograd.grad(selected.sum(), differentiable, allow_unused=True, retain_graph=True)
    pairs = zip(differentiable, slopes, strict=True)
    shaped = [_by_input(name, one, slope, selected) for one, slope in pairs if slope is not None]
    if not shaped:
        raise Declined(
            f"{name}: expected a model with attention, came one that weighs no values by a softmax over "
            "tokens; use xattr:integrated_gradients, which takes any"
        )
    weights, gradients = ([one.detach() for one in each] for each in zip(*shaped, strict=True))
    return Attention(weights, gradients, watch.convolved)


def _by_input(name: str, weights: Tensor, slopes: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and their gradients as (N, heads, L, S). Raises Declined where they are not of all tokens.

    selected: (N,) the explained logits.
    """
    count = len(selected)
    if weights.ndim == 4 and len(weights) == count:
        return weights, slopes
    if weights.ndim != 3 or len(weights) % count:
        raise Declined(
            f"{name}: expected attention of all tokens to all, (N, heads, T, T), came {tuple(weights.shape)} "
            f"of {count} inputs, as of windows; use xattr:integrated_gradients, which takes any"
        )
    if _inputs_first(weights, selected):
        return weights.unflatten(0, (count, -1)), slopes.unflatten(0, (count, -1))
    return weights.unflatten(0, (-1, count)).transpose(0, 1), slopes.unflatten(0, (-1, count)).transpose(0, 1)


def _inputs_first(weights: Tensor, selected: Tensor) -> bool:
    """Whether of weights (N · heads, L, S) the heads of one input are next to each other."""
    heads = len(weights) // len(selected)
    if heads == 1 or len(selected) == 1:
        return True
    (slopes,) = torch.autograd.grad(selected[0], weights, retain_graph=True)
    return not bool(slopes[heads:].any())


def expect_same_tokens(name: str, found: Attention) -> None:
    """Raise Declined in the name of a method for layers that do not follow each other on the same tokens."""
    tokens = found.weights[0].shape[-1]
    shapes = [tuple(one.shape[-2:]) for one in found.weights]
    if any(shape != (tokens, tokens) for shape in shapes[:-1]) or shapes[-1][1] != tokens:
        came = ", ".join(f"{queries}×{keys}" for queries, keys in shapes)
        raise Declined(
            f"{name}: expected layers of attention on the same {tokens} tokens, came {came}; "
            "use xattr:attention, which reads the last one"
        )


def explain_by_attention(
    name: str,
    values_of: Callable[[Attention], Tensor],
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    memory: int,
    layout: Layout | str | None,
) -> Tensor:
    """Maps of inputs (N, *F) from values (N, T) of the tokens that their attention comes to."""
    axes = laid_out(name, inputs, layout)

    def explain(inputs: Tensor, targets: Tensor) -> Tensor:
        found = attention_of(name, model, inputs, targets)
        return on_features(name, values_of(found), axes, found.convolved, class_last=found.class_last)

    return in_chunks(explain, model, inputs, targets, memory)
