"""Null feature."""

import torch
from torch import Tensor

from xattr_axioms.generated._patches import PICTURES, amounts, feature_masks, pictures, zeros_told
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated


@axiom(
    statement="A feature that never changes the output, in any coalition, gets none of the attribution.",
    family="generated",
    # What does not know which feature is which comes to ½; half of that is allowed. On three networks methods
    # that add up to the output come to 0.02 to 0.12, gradcam to 0.03 to 0.06, the gradient to 0.36 to 0.6.
    gate=AtMost(0.25),
    cites="khakzar2022",
    reads="of the features' attribution falls on one that never changes the output",
    bounds=(0, 1),
    needs=("logits",),
    on=generated("null"),
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    positive=("oracle",),
    witness="occlusion",
)
def null_feature(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """|Σ S| on the null feature, by that and the |Σ S| on the one that makes the target, for each sample.

    Of several null features the mean is taken, so that chance stays ½. A map that sums to zero on all of them
    says nothing about any, and counts as ½. The evidence has the signed ratio that [khakzar2022] reports, Σ S
    on the null feature by Σ S on the contributing one, which is not bounded; with signs for every method,
    also where they are only a direction. And it has the share pixel by pixel, of Σ |S|, which is not judged:
    that a feature as a whole never changes the output is certified, and of its pixels it is not true.
    """
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    masks = feature_masks(subject, draw)
    zero, share = _share(amounts(scores, masks).abs())
    pixels = _share(amounts(scores.abs(), masks))[1]
    signed = amounts(method.signed(subject.model, draw.inputs, draw.targets), masks)
    ratio = signed[:, 1:].mean(1) / signed[:, 0]
    told = zeros_told(zero, "counted as ½") or (
        f"signed, the sum on it is {float(ratio.nanmedian()):.2f} of that on the one that makes the target; "
        f"{'pixel by pixel' if subject.is_image else 'one by one'}, which is not judged, it gets "
        f"{float(pixels.mean()):.2f} of the magnitude"
    )
    # For the pictures alone: what the method says of the class that the null feature makes.
    first, others = draw.inputs[:PICTURES], draw.truth("other_target")[:PICTURES]
    beside = method.scores(subject.model, first, others)
    evidence = pictures(subject, draw, scores, beside) | {"signed_ratio": ratio, "pixel_share": pixels}
    return Measurement(share, told, evidence)


def _share(found: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) whether amounts (n, k) ≥ 0 are all zero, and the null features' part, ½ where they are."""
    contributing, null = found[:, 0], found[:, 1:].mean(1)
    zero = contributing + null == 0
    return zero, torch.where(zero, 0.5, null / (contributing + null))
