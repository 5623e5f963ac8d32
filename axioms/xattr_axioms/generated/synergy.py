"""Synergy."""

import torch
from torch import Tensor

from xattr_axioms.generated._patches import amounts, feature_masks, pictures
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated


@axiom(
    statement="Features that change the output only beside each other get attribution only there.",
    family="generated",
    # What shows features one at a time has the same with and without the other, and comes to 0, as does what
    # asks no model; the truth is 1. On the digits methods that add up to the output come to 0.97, gradcam
    # to 0.8, a gradient to 0.1.
    gate=AtLeast(0.5),
    cites="khakzar2022",
    reads="of the attribution of features that do nothing alone is lost where they are alone",
    bounds=(-1, 1),
    needs=("logits",),
    on=generated("synergy", anew="standard"),
    # The oracle knows of the inputs that show all features, and not of those that show one.
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    inputs=16,
)
def synergy(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """(T − R) / max(|T|, |R|), at most 1 either way: T = Σ S on all features where all are, R on each alone.

    The dual of `saturation`: the features make the target together, and none of them changes its output
    alone, so that T is right to be the whole effect and R nothing, whichever of them gets how much of T. What
    removes one feature at a time sees that, and what adds one at a time to the empty image does not. Maps of
    an input with all features and of one with one of them are compared as they are: what is rescaled to the
    same total for every input has no R that is less.
    """
    masks = feature_masks(subject, draw)
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    together = amounts(scores, masks)
    singles = [draw.truth(f"only_{letter}") for letter in "abcd"[: masks.shape[1]]]
    shown = [amounts(method.scores(subject.model, images, draw.targets), masks) for images in singles]
    alone = torch.stack(shown, dim=1).diagonal(dim1=1, dim2=2)
    evidence = pictures(subject, draw, scores) | {"together": together, "alone": alone}
    return Measurement(_loss(together.sum(1), alone.sum(1)), evidence=evidence)


def _loss(whole: Tensor, rest: Tensor) -> Tensor:
    """(n,) what is lost from whole to rest, by the larger magnitude, in −1…1; 0 where both are zero."""
    largest = torch.maximum(whole.abs(), rest.abs())
    return ((whole - rest) / torch.where(largest == 0, 1.0, largest)).clamp(-1, 1)
