"""Class sensitivity, with a feature for each of two classes."""

import torch

from xattr_axioms.generated._patches import amounts, feature_masks, overlap, pictures, shares_of, zeros_told
from xattr_axioms.localisation._masks import hits_of
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated


@axiom(
    statement="Two classes, each made by a feature that never changes the other, get different maps.",
    family="generated",
    # The same map for both classes comes to 1, a map that goes from the one feature to the other to 0.
    gate=AtMost(0.25),
    cites="khakzar2022",
    reads="overlap of the maps for two classes, each made by a feature of its own",
    bounds=(0, 1),
    needs=("logits",),
    on=generated("double"),
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    positive=("oracle",),
    witness="occlusion",
)
def class_sensitivity_double(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Eq. 9 of [khakzar2022] on |Σ S| of whole features: Σ min(S_a, S_b) / (S_a on f_a + S_b on f_b).

    Both maps first get the same total over the two features: one map under two scales is the same for both
    classes, and comes to 1. So does a map that is zero on both features, or has all on the other class's. The
    evidence has Eq. 9 pixel by pixel on |S|, as published, of maps as they are, and of maps with the same
    total, and the pointing game over both targets: the share of the two maps that have their maximum on
    the feature of their class, (n,). It is not judged: of the pixels of a feature nothing is certified.
    """
    other = draw.truth("other_target")
    scores_a, scores_b = (
        method.scores(subject.model, draw.inputs, targets) for targets in (draw.targets, other)
    )
    masks = feature_masks(subject, draw)
    whole = [amounts(scores, masks[:, :2]).abs() for scores in (scores_a, scores_b)]
    zero = (whole[0].sum(1) == 0) | (whole[1].sum(1) == 0)
    # (n, 2 P): the pixels of f_a, then those of f_b.
    pixels = [(scores.abs()[:, None] * masks[:, :2]).flatten(1) for scores in (scores_a, scores_b)]
    evidence = pictures(subject, draw, scores_a, scores_b) | {
        "published_overlap": overlap(*pixels),
        "pixel_overlap": overlap(*map(shares_of, pixels)),
        "pointing_game": torch.stack(
            [
                hits_of(subject, scores.clamp_min(0), masks[:, place])
                for place, scores in enumerate((scores_a, scores_b))
            ]
        ).mean(0),
    }
    found = torch.where(zero, 1.0, overlap(*map(shares_of, whole)))
    return Measurement(found, zeros_told(zero, "counted as 1"), evidence)
