"""Raw attention."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods.activations._attention import Attention, explain_by_attention


def raw_attention(found: Attention) -> Tensor:
    """(N, T): the attention to each token in the last layer, the mean of the heads."""
    return found.read_out(found.weights[-1].mean(1))


@method(keeps_rows=True)
def attention(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Tensor:
    """Attention to each token in the last layer, (N, T, 1), (N, D) or (N, 1, H, W). [vaswani2017]

    The mean of the heads, and of the queries that the logit reads: the one of a class token, or all of them
    where the classifier reads the mean of the tokens. Never negative, and the same for all targets: it says
    where the model looks, and not what it makes of it [jain2019].

    Attention is found whichever way a model computes it: by `torch.nn.MultiheadAttention`, by
    `scaled_dot_product_attention`, or by a softmax and a product. Patches are enlarged to the size of the
    image. Tokens of no feature, as those of a class and of registers, are left out: they stand before the
    others, or behind them where the logit reads the last token alone. memory: bytes of one chunk.
    Raises Declined, a ValueError, for a model without attention, where attention is confined to windows, and
    where tokens are neither features nor patches of them.
    """
    return explain_by_attention("attention", raw_attention, model, inputs, targets, memory, layout)
