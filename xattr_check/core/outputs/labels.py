"""Labels."""

from torch import Tensor
from torch.nn import functional

from xattr_check.core.outputs.base import Output, score


class Labels(Output):
    """Logits of labels of which several may hold at once, or none."""

    name = "labels"
    # Which labels hold of an input, targets alone do not tell.
    offers = frozenset({"probability", "logits"})

    def probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): the sigmoid of the target's."""
        return score(outputs, targets).sigmoid()

    def log_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): its logarithm, also where it is far below zero."""
        return functional.logsigmoid(score(outputs, targets))

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): whether the target's is above zero: it is taken to hold."""
        return score(outputs, targets) > 0

    def cross_entropy(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """(n,): the sum of each label's own, that it holds or does not."""
        return functional.binary_cross_entropy_with_logits(outputs, wanted.sigmoid(), reduction="none").sum(1)
