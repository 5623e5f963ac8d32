"""Functions of torch that are made of others, written out so that a function mode sees the others."""

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q kᵀ / √E) v, (…, L, V), of queries (…, L, E), keys (…, S, E) and values (…, S, V).

    As [vaswani2017]. A query that may attend to nothing gets nothing, as in the function of torch.
    """
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (one.repeat_interleave(groups, -3) for one in (key, value))
    closeness = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(closeness.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is None:
        weights = functional.softmax(closeness, -1)
    else:
        hidden = ~attn_mask if attn_mask.dtype == torch.bool else torch.isneginf(attn_mask)
        if attn_mask.dtype != torch.bool:
            closeness = closeness + attn_mask.masked_fill(hidden, 0)
        # Not minus infinity where a query has no key at all, of which softmax makes NaN.
        closeness = closeness.masked_fill(hidden & ~hidden.all(-1, keepdim=True), -torch.inf)
        weights = functional.softmax(closeness, -1).masked_fill(hidden, 0)
    return functional.dropout(weights, dropout_p) @ value if dropout_p else weights @ value


def addmm(input: Tensor, one: Tensor, other: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """A product of matrices, of one or of a batch, added to a tensor."""
    product = one @ other
    return (product if alpha == 1 else alpha * product) + (input if beta == 1 else beta * input)


def _open(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch.nn.functional whose own lines a mode sees, and not the function as a whole."""
    assert isinstance(function, FunctionType)
    names = {**function.__globals__, "has_torch_function": lambda _: False}
    opened = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened


# By the function of torch.
WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.scaled_dot_product_attention: scaled_dot_product_attention,
    functional.multi_head_attention_forward: _open(functional.multi_head_attention_forward),
    **dict.fromkeys((torch.addmm, torch.baddbmm, Tensor.addmm, Tensor.baddbmm), addmm),
}
