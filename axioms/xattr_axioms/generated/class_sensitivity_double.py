"""Class sensitivity, with a feature for each of two classes."""

import torch
from torch import Tensor

from xattr_axioms.generated._patches import feature_masks, magnitudes, pictures, zeros_told
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated


def overlap(on_a: Tensor, on_b: Tensor) -> Tensor:
    """(n,) Eq. 9 of maps (n, 2 P) ≥ 0 for class a and for b, first on the feature of a, then on that of b.

    1, where neither class has anything on its own feature.
    """
    own = on_a.chunk(2, 1)[0].sum(1) + on_b.chunk(2, 1)[1].sum(1)
    return torch.where(own == 0, 1.0, torch.minimum(on_a, on_b).sum(1) / own)


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
)
def class_sensitivity_double(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Eq. 9 of [khakzar2022] on |S|, for each sample: Σ min(S_a, S_b) / (Σ S_a on f_a + Σ S_b on f_b).

    Both maps first get the same total over the two features: one map under two scales is the same for both
    classes, and comes to 1. So does a map that is zero on both features, or has all on the other class's. The
    evidence has Eq. 9 as published, of maps as they are. Beyond images the sums are over two numbers, |Σ S|
    on each feature.
    """
    other = draw.truth("other_target")
    scores_a, scores_b = (
        method.scores(subject.model, draw.inputs, targets) for targets in (draw.targets, other)
    )
    masks = feature_masks(subject, draw)[:, :2]
    # (n, 2 P): the pixels of f_a, then those of f_b
    on_a, on_b = (magnitudes(subject, scores, masks).flatten(1) for scores in (scores_a, scores_b))
    totals = on_a.sum(1), on_b.sum(1)
    zero = (totals[0] == 0) | (totals[1] == 0)
    alike = (
        on / torch.where(total == 0, 1.0, total)[:, None]
        for on, total in zip((on_a, on_b), totals, strict=True)
    )
    evidence = pictures(subject, draw, scores_a, scores_b) | {"published_overlap": overlap(on_a, on_b)}
    return Measurement(torch.where(zero, 1.0, overlap(*alike)), zeros_told(zero, "counted as 1"), evidence)
