"""Compactness."""

import math

import torch
from torch import Tensor

from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom


@axiom(
    statement="How few features have how much of a map.",
    family="complexity",
    # No gate: a map of one feature has the best figure, wherever that is, and a constant one the worst.
    gate=AtLeast(-math.inf),
    cites="chalasani2020",
    reads="is the Gini index of magnitudes, 0 where all features have the same and 1 where one has all",
    bounds=(0, 1),
    cost="standard",
)
def compactness(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The Gini index of a map's magnitudes, summed over channels with their signs before, for each input.

    Of P features it is 1 − 1/P at most. Padding is left out.
    """
    maps = method.signed(subject.model, draw.inputs, draw.targets).abs()
    valid = torch.ones_like(maps, dtype=torch.bool) if draw.valid is None else draw.valid
    return Measurement(torch.stack([gini(one[some]) for one, some in zip(maps, valid, strict=True)]))


def gini(amounts: Tensor) -> Tensor:
    """() float64, of amounts (P,) that are not negative; 0 where there are none."""
    ordered, count = amounts.double().sort().values, len(amounts)
    weights = 2 * torch.arange(1, count + 1, device=amounts.device) - count - 1
    return (weights * ordered).sum() / (count * ordered.sum()).clamp_min(1e-300)
