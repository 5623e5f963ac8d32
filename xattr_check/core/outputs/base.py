"""What a model's outputs mean."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Output(ABC):
    """What the outputs (N, K) of a model mean, of which one is explained: the target, by its number.

    Its explained score is that output itself, for every kind; what differs is how it is read.

    name: how a subject asks for it. noun: what `probability` gives, in words. falls: what it
        does when all features go.
    offers: what a check may need of a subject: `probability`, that of a label, `accuracy`, and `logits`, each
        of which an input can be made to raise while others stay.
    spoiled_by: operations after which a value is no logit, by their name in torch's graph.
    made_by: operations by which a model's own output is brought into this form.
    """

    name: ClassVar[str]
    noun: ClassVar[str] = "target's probability"
    falls: ClassVar[str] = "falls"
    offers: ClassVar[frozenset[str]] = frozenset({"probability", "accuracy"})
    spoiled_by: ClassVar[frozenset[str]] = frozenset({"Sigmoid", "Softmax", "SafeSoftmax"})
    made_by: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,) in 0…1: how much outputs (n, K) say that the targets (n,) hold; it rises with the score."""

    def log_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,): the logarithm of `probability`."""
        return self.probability(outputs, targets).log()

    @abstractmethod
    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,) bool: whether outputs (n, K) name the targets (n,). Raises Undefined where none can."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """() the sum over rows of what training lessens, for outputs (n, K) and targets (n,)."""
        return -self.log_probability(outputs, targets).sum()

    def chance(self, count: int) -> float:
        """What `probability` is of one of so many outputs where nothing is known."""
        return 0.5

    def cross_entropy(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """(n,): that of what outputs (n, K) say with what the outputs wanted (n, K) do, over all targets."""
        total = torch.zeros_like(outputs[:, 0])
        for number in range(outputs.shape[1]):
            targets = torch.full(outputs.shape[:1], number, device=outputs.device)
            total = total - self.probability(wanted, targets) * self.log_probability(outputs, targets)
        return total

    def effect(self, full: Tensor, empty: Tensor) -> Tensor:
        """(n,) how far probabilities (n,) fall when all features go."""
        return full - empty

    def unmoved(self, full: Tensor, empty: Tensor, least: float) -> Tensor:
        """(n,) bool, where they hardly fall when all features go, so that no order is known to do more."""
        return self.effect(full, empty) < least

    def to(self, device: torch.device) -> "Output":
        """The same on a device."""
        return self


def expect_several(outputs: Tensor, name: str, wanted: str) -> None:
    """Raise ValueError for outputs (n, 1), which say nothing where they are read beside each other."""
    if outputs.shape[1] < 2:
        raise ValueError(f"explained={name!r}: expected {wanted}, came one output")


def score(outputs: Tensor, targets: Tensor) -> Tensor:
    """(n,): the output of each target, of outputs (n, K) and targets (n,)."""
    return outputs.gather(1, targets[:, None]).squeeze(1)
