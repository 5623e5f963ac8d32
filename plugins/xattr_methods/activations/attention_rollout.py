"""Attention rollout."""

from functools import reduce

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods.activations._attention import Attention, expect_same_tokens, explain_by_attention


def rolled_out(found: Attention) -> Tensor:
    """(N, T): what of each token reaches those that the logit reads, if layers do nothing but mix them."""
    expect_same_tokens("attention_rollout", found)
    layers = [_with_shortcut(weights.mean(1)) for weights in found.weights]
    return found.read_out(reduce(lambda below, layer: layer @ below, layers))


def _with_shortcut(weights: Tensor) -> Tensor:
    """Attention (N, L, T) and the shortcut beside it in equal shares; queries of their own have none."""
    queries, tokens = weights.shape[-2:]
    if queries != tokens:
        return weights
    return (weights + torch.eye(tokens, dtype=weights.dtype, device=weights.device)) / 2


@method(keeps_rows=True)
def attention_rollout(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Tensor:
    """Attention multiplied through all layers, (N, T, 1), (N, D) or (N, 1, H, W). [abnar2020]

    A layer is half the mean attention of its heads and half the identity, for the shortcut beside it. What is
    shown are the rows of the product that the logit reads, as for attention. Never negative, and the same for
    all targets. memory: bytes of one chunk.
    Raises Declined, a ValueError, as attention does, and where the layers are not of the same tokens.
    """
    return explain_by_attention("attention_rollout", rolled_out, model, inputs, targets, memory, layout)
