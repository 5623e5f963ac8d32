"""Control: how rare a word is."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.subject import Subject


@method(control="negative", needs=("tokens",))
def word_rarity(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, context: Mapping[str, Tensor], subject: Subject
) -> Tensor:
    """Minus the logarithm of a word's share of the subject's texts, (N, T): no model is asked."""
    ids = subject.context["ids"]
    words = ids if subject.valid is None else ids[subject.valid]
    own = context["ids"].to(words.device)
    counts = torch.bincount(words.flatten(), minlength=int(ids.max()) + 1)
    rarity = -(counts[own].clamp_min(1) / words.numel()).log()
    return rarity.to(inputs.device, torch.float32)
