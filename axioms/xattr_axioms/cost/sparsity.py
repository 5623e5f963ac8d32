"""Sparsity."""

import math

from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.statistics.sparsity import gini, half_shares


@axiom(
    statement="How much of an input a map asks its reader to look at.",
    family="cost",
    # A sparse map is none the better for it: one that names a single wrong pixel is the sparsest of all.
    gate=AtMost(math.inf),
    cites="hurley2009",
    reads="of the features hold half of the map's magnitude",
    bounds=(0, 1),
)
def sparsity(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Share of the features that hold half of Σ |a|, the largest first, for each input; ½ of a constant map.

    The evidence has the Gini index of [hurley2009], 0 where all features have the same.
    """
    amounts = method.scores(subject.model, draw.inputs, draw.targets).abs()
    return Measurement(half_shares(amounts, draw.valid), evidence={"gini": gini(amounts, draw.valid)})
