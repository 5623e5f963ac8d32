"""The relevance of attention."""

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods.activations._attention import Attention, expect_same_tokens, explain_by_attention


def relevance(found: Attention) -> Tensor:
    """(N, T): R − I as the logit reads it, of R = I and R + Ā R at each layer with Ā = meanₕ (∇A ⊙ A)⁺."""
    expect_same_tokens("chefer_relevance", found)
    layers = [
        (weights * gradients).clamp_min(0).mean(1)
        for weights, gradients in zip(found.weights, found.gradients, strict=True)
    ]
    added = torch.zeros_like(layers[0])  # R − I
    for layer in layers:
        # Queries of their own have no shortcut.
        added = layer + layer @ added + (added if layer.shape == added.shape else 0)
    return found.read_out(added)


@method(keeps_rows=True)
def chefer_relevance(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Tensor:
    """Attention times its gradient, rectified, through all layers, (N, T, 1), (N, D) or (N, 1, H, W).

    R = I, and R + Ā R at each layer of self-attention, with Ā = meanₕ (∇A ⊙ A)⁺ and the gradient of the
    target's logit [chefer2021]. What is shown are the rows of R − I that the logit reads, as for attention:
    without what every token has of itself, which in a text puts the token of the class before all others.
    Never negative. memory: bytes of one chunk.
    Raises Declined, a ValueError, as attention does, and where the layers are not of the same tokens.
    """
    return explain_by_attention("chefer_relevance", relevance, model, inputs, targets, memory, layout)
