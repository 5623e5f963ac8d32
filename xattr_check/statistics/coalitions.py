"""All coalitions of a few players, and what they say of each of them."""

import math

import torch
from torch import Tensor


def subsets(count: int) -> Tensor:
    """(2 ** count, count) bool: all coalitions of so many players, the empty one first."""
    numbers = torch.arange(2**count)
    return (numbers[:, None] >> torch.arange(count)) % 2 == 1


def shapley_weights(coalitions: Tensor) -> Tensor:
    """(2 ** R, R) float64: the outputs of all coalitions times these are the Shapley values.

    With S without i: |S|! (R − |S| − 1)! / R! for S and i together, minus the same for S alone.
    """
    count = coalitions.shape[1]
    ways = torch.tensor(
        [1 / (count * math.comb(count - 1, size)) for size in range(count)], dtype=torch.float64
    )
    others = coalitions.sum(1, keepdim=True) - coalitions.long()
    return torch.where(coalitions, 1.0, -1.0).double() * ways[others]
