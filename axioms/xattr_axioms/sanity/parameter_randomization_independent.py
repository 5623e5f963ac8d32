"""Parameter randomisation, one group of layers at a time."""

from xattr_axioms.sanity._randomization import curves, draw_lines, randomised_maps, signed_maps
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.networks.randomize import cascade


@axiom(
    statement="The map becomes another one when one layer's weights are randomised and the others stay.",
    family="sanity",
    # On the digits, five seeds, methods that pass in the literature come to 0.07 to 0.23, lrp to 0.34 and
    # fullgrad, which returns magnitudes, to 0.44; deep Taylor, excitation backpropagation and gradcam++ to
    # 0.50 to 0.66, guided backpropagation to 0.65, a map without a model to 1; the classifier's weights as a
    # map to 0.8: the cascade, which begins there, passes them. Guided gradcam, at 0.36 to 0.42, is left to
    # the cascade.
    gate=AtMost(0.45),
    cites="adebayo2018",
    reads="rank correlation with maps of models with one random layer, above that of unrelated inputs",
    bounds=(-1, 1),
    negative=("random", "edges", "input_magnitude"),
    cost="standard",
)
def parameter_randomization_independent(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """As `parameter_randomization`, with the groups of its cascade randomised one at a time."""
    groups = cascade(subject.model, draw.inputs)
    if not groups:
        raise Undefined("the model has no parameters to randomise")
    steps = (randomised_maps(method, names, draw, step) for step, names in enumerate(groups))
    evidence = curves(signed_maps(method, subject.model, draw), steps, subject)
    lines = draw_lines(groups, evidence, "randomised alone")
    return Measurement(evidence["spearman"].mean(1), evidence=evidence, lines=lines)
