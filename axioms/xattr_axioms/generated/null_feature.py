"""Null feature."""

import torch

from xattr_axioms.generated._patches import (
    PICTURES,
    amounts,
    feature_masks,
    magnitudes,
    pictures,
    zeros_told,
)
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated


@axiom(
    statement="A feature that never changes the output, in any coalition, gets none of the attribution.",
    family="generated",
    # What does not know which feature is which comes to ½; half of that is allowed.
    gate=AtMost(0.25),
    cites="khakzar2022",
    reads="of the features' attribution falls on one that never changes the output",
    bounds=(0, 1),
    needs=("logits",),
    on=generated("null"),
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    positive=("oracle",),
)
def null_feature(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Share of |S| on the null feature, of that on it and on the one that makes the target, for each sample.

    Beyond images |Σ S| over each feature takes the place of Σ |S|: see `magnitudes`.
    Of several null features the mean is taken, so that chance stays ½. A map that is zero on all of them says
    nothing about any, and counts as ½. The evidence has the signed ratio that [khakzar2022] reports, Σ S on
    the null feature by Σ S on the contributing one, which is not bounded; with signs for every method, also
    where they are only a direction.
    """
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    masks = feature_masks(subject, draw)
    found = magnitudes(subject, scores, masks).sum(2)
    contributing, null = found[:, 0], found[:, 1:].mean(1)
    zero = contributing + null == 0
    share = torch.where(zero, 0.5, null / (contributing + null))
    signed = amounts(method.signed(subject.model, draw.inputs, draw.targets), masks)
    ratio = signed[:, 1:].mean(1) / signed[:, 0]
    told = zeros_told(zero, "counted as ½") or (
        f"signed, the sum on it is {float(ratio.nanmedian()):.2f} of that on the one that makes the target"
    )
    # For the pictures alone: what the method says of the class that the null feature makes.
    first, others = draw.inputs[:PICTURES], draw.truth("other_target")[:PICTURES]
    beside = method.scores(subject.model, first, others)
    return Measurement(share, told, pictures(subject, draw, scores, beside) | {"signed_ratio": ratio})
