"""Saturation."""

import torch

from xattr_axioms.generated._patches import feature_masks, magnitudes, pictures, zeros_told
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated
from xattr_check.statistics.similarity import spearman


@axiom(
    statement="Features, each of which suffices for the output, share its attribution.",
    family="generated",
    # Equal shares come to 1, a split at random, all shares alike likely, to 0.39: what fails gives nearly all
    # to the one and nothing to the other.
    gate=AtLeast(0.25),
    cites="khakzar2022",
    reads="balance of the attribution between features, each of which suffices for the output",
    bounds=(0, 1),
    needs=("logits",),
    on=generated("saturation"),
    # What attributes to everything is balanced: noise comes to 0.94. It fails what is presumed instead.
    presumes=("null_feature",),
    negative=("first_feature",),
    positive=("oracle",),
)
def saturation(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Σ |S| on the feature that gets least, by that on the one that gets most, for each sample.

    Beyond images |Σ S| over each feature takes the place of Σ |S|.
    A map that is zero on all features has no balance, and counts as 0. A map that attributes to everything
    looks fair here: it has to pass `null_feature` first. The evidence has Eq. 11 of [khakzar2022], the
    Spearman correlation of the sums over samples, one for each pair of features; it is not what is judged,
    since it cannot tell equal attribution from ten times as much on the one, always.
    """
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    found = magnitudes(subject, scores, feature_masks(subject, draw)).sum(2)
    least, most = found.aminmax(dim=1)
    zero = most == 0
    balance = torch.where(zero, 0.0, least / most)
    one, other = torch.combinations(torch.arange(found.shape[1])).unbind(1)
    evidence = pictures(subject, draw, scores) | {"spearman": spearman(found.T[one], found.T[other])}
    return Measurement(balance, zeros_told(zero, "counted as 0"), evidence)
