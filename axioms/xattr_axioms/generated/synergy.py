"""Synergy."""

import torch
from torch import Tensor

from xattr_axioms.contract._calls import distance
from xattr_axioms.exact._copies import explain_copy, multiple
from xattr_axioms.exact.scale_covariance import FACTOR
from xattr_axioms.generated._patches import amounts, feature_masks, pictures
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.errors import Undefined
from xattr_check.generation.subjects import generated

# Totals that differ by no larger share are the same, since what is rescaled loses a little on its way.
SAME = 0.01
LEAST = 0.5


@axiom(
    statement="Features that change the output only beside each other get attribution only there.",
    family="generated",
    # What shows features one at a time has the same with and without the other, and comes to 0, as does what
    # asks no model; the truth is 1. On the digits methods that add up to the output come to 0.9, gradcam to
    # 0.8, a gradient to 0.2.
    gate=AtLeast(LEAST),
    cites="khakzar2022",
    reads="of the attribution of features that do nothing alone is lost where they are alone",
    bounds=(0, 1),
    needs=("logits",),
    on=generated("synergy", anew="standard"),
    # How sure the model is tells the inputs apart, wherever the map puts it.
    presumes=("null_feature",),
    # The oracle knows of the inputs that show all features, and not of those that show one.
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    inputs=16,
)
def synergy(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 − R / T, at least 0: T = Σ S on all features where all are, R = Σ |Σ S| on each where it is alone.

    The dual of `saturation`: the features make the target together, and none of them changes its output
    alone, so that T is right to be the whole effect and R nothing, whichever of them gets how much of T. What
    removes one feature at a time sees that, and what adds one at a time to the empty image does not. What is
    against the target where a feature is alone is as wrong as what is for it. Where T is not above zero
    there is nothing to lose, and it counts as 0. A map that is brighter where the model is surer, whatever
    it shows, comes to 0.9: it has to pass `null_feature` first.

    Raises Undefined where Σ |S| over the map is the same with all features as with one of them, or maps are
    the same for outputs that are a multiple, as shares of a variance: maps of two inputs then tell where, and
    not how much. One map for all inputs, and what is one for all targets, counts as 0 all the same.
    """
    masks = feature_masks(subject, draw)
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    singles = [draw.truth(f"only_{letter}") for letter in "abcd"[: masks.shape[1]]]
    shown = torch.stack([method.scores(subject.model, images, draw.targets) for images in singles])
    if _rescaled(scores, shown):
        raise Undefined(
            "maps of the method have the same total for every input: they tell where the attribution is, and "
            "not how much of it there is"
        )
    together = amounts(scores, masks)
    alone = torch.stack([amounts(one, masks)[:, feature] for feature, one in enumerate(shown)], dim=1)
    whole, rest = together.sum(1), alone.abs().sum(1)
    lost = torch.where(whole > rest, 1 - rest / torch.where(whole > rest, whole, 1.0), 0.0)
    if float(lost.mean()) < LEAST and _same_for_multiples(method, subject, draw):
        raise Undefined(
            f"maps of the method are the same for outputs {FACTOR:g} times as large: they tell where the "
            "attribution is, and not how much of it there is"
        )
    evidence = pictures(subject, draw, scores) | {"together": together, "alone": alone}
    return Measurement(lost, evidence=evidence)


def _same_for_multiples(method: Explainer, subject: Subject, draw: Draw) -> bool:
    """Whether maps are the same for a multiple of the outputs, and other ones for other targets."""
    outputs = subject.examination.outputs
    if outputs < 2:
        return False
    maps, others = (
        method(subject.model, draw.inputs, targets).double()[None]
        for targets in (draw.targets, (draw.targets + 1) % outputs)
    )
    if float(distance(maps, others).median()) <= SAME:
        return False
    try:
        multiples = explain_copy(method, multiple(draw, FACTOR), draw.inputs, draw.targets, draw)
    except Undefined:  # of a method that explains no copies
        return False
    return float(distance(maps, multiples.mean(0)[None]).median()) <= SAME


def _rescaled(scores: Tensor, shown: Tensor) -> bool:
    """Whether maps (n, P) and (k, n, P) of other inputs have one total of magnitudes, and are not one map."""
    total = scores.abs().sum(1)
    gaps = (shown.abs().sum(2) - total).abs(), (shown - scores).abs().sum(2)
    same, one = (bool((gap <= SAME * total).all()) for gap in gaps)
    return same and not one
