"""A margin."""

from torch import Tensor
from torch.nn import functional

from xattr_check.core.outputs.base import Output, expect_several, score


class Margin(Output):
    """One logit z of two classes, as the two outputs −z and z: targets 0 and 1 are explained by ∓z."""

    name = "margin"
    made_by = ("Cat", "Neg")

    def probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): sigmoid(−z) or sigmoid(z)."""
        _expect_both(outputs)
        return score(outputs, targets).sigmoid()

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): whether z is on the target's side."""
        return score(outputs, targets) > 0

    def log_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): its logarithm; the loss is binary cross entropy."""
        _expect_both(outputs)
        return functional.logsigmoid(score(outputs, targets))


def _expect_both(outputs: Tensor) -> None:
    expect_several(outputs, Margin.name, "−z and z, as the model of a Subject returns them")
