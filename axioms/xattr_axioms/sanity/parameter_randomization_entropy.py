"""Efficient parameter randomisation: the entropy of maps of a random network."""

import math

import torch
from torch import Tensor

from xattr_axioms.sanity._randomization import Randomised, by_network, maps_by_network, maps_of
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.networks.randomize import every_layer

# Of a histogram, as in the source.
BINS = 100


@axiom(
    statement="How much more disorder a map of a random network has than one of the model.",
    family="sanity",
    # No gate: on the digits guided backpropagation, which random weights hardly change, comes to 0.43, more
    # than a gradient at 0.38 and lrp at 0.36, and gradcam to 0.09. What asks no model comes to 0.
    gate=AtLeast(-math.inf),
    cites="hedstrom2024",
    reads="of the largest entropy is gained by maps with the random weights of all layers",
    cost="standard",
)
def parameter_randomization_entropy(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """(ξ(random) − ξ(model)) / ln 100 by network, ξ the entropy of a histogram of a map of each input.

    One network with no layer as it was in place of a cascade, and no likeness of two maps. Histograms are of
    100 bins between the extremes of a map with its signs, summed over channels. The source divides by the
    entropy of the model's map, which is 0 where that is the same everywhere; the evidence has both entropies.
    """
    chosen = every_layer(subject.model, draw.inputs)
    before = entropy(maps_of(method, subject.model, draw)[0])
    after = entropy(maps_by_network(method, draw, Randomised(draw, chosen))[0])
    evidence = {"entropy": torch.stack([before, after], dim=1)}
    return Measurement(by_network((after - before) / math.log(BINS), draw), evidence=evidence)


def entropy(maps: Tensor) -> Tensor:
    """(n,) in nats, of a histogram of each of maps (n, P), NaN left out; 0 for a constant one."""

    def of_one(row: Tensor) -> Tensor:
        low, high = row.aminmax()
        places = ((row - low) / (high - low).clamp_min(1e-300) * BINS).long().clamp_max(BINS - 1)
        shares = torch.bincount(places, minlength=BINS).double() / len(row)
        return -torch.xlogy(shares, shares).sum()

    return torch.stack([of_one(row[~row.isnan()]) for row in maps])
