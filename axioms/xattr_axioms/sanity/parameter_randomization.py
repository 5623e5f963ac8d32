"""Parameter randomisation, cascading."""

from itertools import accumulate

from xattr_axioms.sanity._randomization import curves, draw_lines, randomised_maps, signed_maps
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.networks.randomize import cascade


@axiom(
    statement="The map becomes another one when the model's weights are randomised, from the output down.",
    family="sanity",
    # Signed maps are compared, because the magnitude of any gradient stays on the object while the network
    # is shallow. On the digits, five seeds, methods that pass in the literature come to 0.07 (gradient) to
    # 0.23 (gradcam), lrp, occlusion and fullgrad to 0.29; guided gradcam to 0.44 to 0.49, deep Taylor,
    # excitation backpropagation and gradcam++ to 0.45 to 0.59, guided backpropagation to 0.66, a map without
    # a model to 1. On a ResNet-20 they come to 0.02 to 0.09, lrp to 0.25; guided gradcam to 0.41, excitation
    # backpropagation to 0.48, guided backpropagation to 0.59, but deep Taylor to 0.3 (docs/published.md).
    gate=AtMost(0.35),
    cites="adebayo2018",
    reads="rank correlation with maps of randomised models, above that of unrelated inputs",
    bounds=(-1, 1),
    negative=("random", "edges", "input_magnitude"),
)
def parameter_randomization(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Spearman correlation of signed maps before and after, averaged over the steps of the cascade.

    0 is the similarity to maps of other inputs in the same randomised model, so that coarse maps are not
    punished; 1 is no change, but for a factor of either sign. The explained class stays the same. The
    evidence has the curve over the steps, and those of the magnitudes, of structural similarity and of
    histograms of oriented gradients.
    """
    groups = cascade(subject.model, draw.inputs)
    if not groups:
        raise Undefined("the model has no parameters to randomise")
    cumulated = accumulate(groups, lambda names, group: names + group)
    steps = (randomised_maps(method, names, draw, step) for step, names in enumerate(cumulated))
    evidence = curves(signed_maps(method, subject.model, draw), steps, subject)
    lines = draw_lines(groups, evidence, "randomised from the output down to")
    return Measurement(evidence["spearman"].mean(1), evidence=evidence, lines=lines)
