"""Parameter randomisation, cascading."""

from itertools import accumulate

from xattr_axioms.sanity._randomization import NEAR, along_cascade
from xattr_check.core import Draw, Explainer, Measurement, Subject, axiom
from xattr_check.networks.randomize import cascade


@axiom(
    statement="The map becomes another one when the model's weights are randomised, from the output down.",
    family="sanity",
    gate=NEAR,
    cites="adebayo2018",
    reads="rank correlation with maps of randomised models, above that of unrelated inputs",
    bounds=(-1, 1),
    negative=("random", "edges", "input_magnitude"),
)
def parameter_randomization(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Spearman correlation of maps before and after, averaged over the steps of the cascade, by network.

    Read as in other checks: with their signs, as magnitudes where the sign is a direction. 0 is the
    similarity to maps of other inputs in the same randomised model, so that coarse maps are not punished; 1
    is no change, but for a factor of either sign. Noise in the maps, as a network with nearly the same
    weights shows it, is taken out. The explained class stays the same. The evidence has the curves over the
    steps, and those of structural similarity and of histograms of oriented gradients.
    """
    groups = cascade(subject.model, draw.inputs)
    steps = list(accumulate(groups, lambda layers, group: layers + group))
    return along_cascade(method, groups, steps, draw, "randomised from the output down to")
