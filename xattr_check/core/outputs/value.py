"""Values."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_check.core.outputs.base import Output, score
from xattr_check.errors import Undefined


@dataclass(frozen=True, eq=False)
class Value(Output):
    """Real numbers, one or several, as those of a regression; the target says which of them is explained.

    mean, deviation: (K,) float64, of the model's outputs for the subject's inputs.
    """

    mean: Tensor
    deviation: Tensor

    name = "value"
    noun = "target's place among the values of all inputs"
    falls = "moves"
    offers = frozenset()
    spoiled_by = frozenset()

    @classmethod
    def of(cls, outputs: Tensor) -> "Value":
        """Of all outputs (N, K) of a model."""
        own = outputs.double()
        return cls(own.mean(0), own.std(0, correction=0))

    def probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): the normal distribution function of the value, standardised by those of the subject's inputs.

        It is no probability of anything, but lies in 0…1 as one does and rises with the value: what is shown
        early is what raises it, whatever unit it has.
        """
        deviation = self.deviation.clamp_min(torch.finfo(self.deviation.dtype).tiny)
        places = (score(outputs, targets).double() - self.mean[targets]) / deviation[targets]
        found: Tensor = torch.special.ndtr(places)
        return found

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Raise Undefined."""
        raise Undefined("a value is neither right nor wrong: it has no accuracy")

    def cross_entropy(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Raise Undefined."""
        raise Undefined("a value has no probabilities, and no cross entropy")

    def effect(self, full: Tensor, empty: Tensor) -> Tensor:
        """(n,) how far values move, in either direction, when all features go."""
        return (full - empty).abs()

    def unmoved(self, full: Tensor, empty: Tensor, least: float) -> Tensor:
        """(n,) False: features that raise a value and others that lower it may leave it where it was."""
        return torch.zeros_like(full, dtype=torch.bool)

    def to(self, device: torch.device) -> "Value":
        """The same on a device."""
        return Value(self.mean.to(device), self.deviation.to(device))
