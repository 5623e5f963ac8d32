"""Suppression."""

import torch

from xattr_axioms.generated._patches import amounts, feature_masks, pictures, zeros_told
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.errors import Undefined
from xattr_check.generation.subjects import generated

# What a map that is nowhere negative may have on the feature that lowers the output, of what is on both.
LITTLE = 0.25
# What is below zero of a map that is nowhere negative but for rounding, and for enlarging, of its magnitude.
ROUNDING = 0.01


@axiom(
    statement="A feature that lowers the output, in any coalition, gets attribution against it.",
    family="generated",
    # The truth is ½, magnitudes of it come to −½, one map for both features to −1; a quarter of the truth is
    # asked for. On three networks what adds up to the output comes to 0.44 to 0.62, occlusion to 0.37.
    gate=AtLeast(0.125),
    cites="khakzar2022",
    reads="of the evidence for the output is told as evidence against it on the feature that lowers it",
    bounds=(-1, 1),
    needs=("logits",),
    on=generated("suppression", anew="standard"),
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    positive=("oracle",),
    inputs=16,
)
def suppression(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """min(Σ S on a, −Σ S on b), by the larger magnitude of both, for each sample.

    Feature a makes the target, and b lowers its output by half of that effect, beside a and without. A map
    that has b as evidence for the target comes to less than zero, and so does one of the other sign. A map
    that is zero on both features counts as 0.

    Raises Undefined for a sensitivity, whose sign is no evidence, and for maps that are nowhere negative, but
    for a hundredth of their magnitude, and have at most a quarter of what is on both features on b: they tell
    no evidence against, and take it for none for the target either. With more on b it is taken for evidence
    for the target.
    """
    if method.method.sensitivity:
        raise Undefined("the sign of the method is a direction, and no evidence against the target")
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    found = amounts(scores, feature_masks(subject, draw))
    largest = found.abs().amax(1)
    zero = largest == 0
    scale = torch.where(zero, 1.0, largest)
    below, whole = float(-scores.clamp_max(0).sum()), float(scores.abs().sum())
    if whole > 0 and below <= ROUNDING * whole:
        share = float((found.abs()[:, 1] / torch.where(zero, 1.0, found.abs().sum(1))).mean())
        if share <= LITTLE:
            raise Undefined(
                "maps of the method are nowhere negative, so that they tell no evidence against the target; "
                f"on what is such they have {share:.2f} of what is on the features"
            )
    balance = torch.minimum(found[:, 0], -found[:, 1]) / scale
    evidence = pictures(subject, draw, scores) | {"amounts": found}
    return Measurement(balance, zeros_told(zero, "counted as 0"), evidence)
