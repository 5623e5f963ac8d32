"""Classes."""

from torch import Tensor
from torch.nn import functional

from xattr_check.core.outputs.base import Output, expect_several, score


class Classes(Output):
    """Logits of classes that exclude one another."""

    name = "classes"
    offers = frozenset({"probability", "accuracy", "logits"})

    def probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): their softmax."""
        _expect_several(outputs)
        return score(outputs.softmax(1), targets)

    def log_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): their logarithm, also where it is far below zero."""
        _expect_several(outputs)
        return score(outputs, targets) - outputs.logsumexp(1)

    def chance(self, count: int) -> float:
        """One of so many classes."""
        return 1 / count

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): whether the target has the largest."""
        return outputs.argmax(1) == targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(): cross entropy."""
        return functional.cross_entropy(outputs, targets, reduction="sum")

    def cross_entropy(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """(n,): of all classes at once."""
        _expect_several(outputs)
        return functional.cross_entropy(outputs, wanted.softmax(1), reduction="none")


def _expect_several(outputs: Tensor) -> None:
    expect_several(outputs, Classes.name, "two classes or more, or explained='labels' for one logit")
