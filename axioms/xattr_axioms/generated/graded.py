"""Graded contribution."""

import torch

from xattr_axioms.generated._patches import amounts, feature_masks, pictures, zeros_told
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.scenarios import GRADED
from xattr_check.generation.subjects import generated

# What the lesser feature contributes, of what both do, and what it has where both have the same.
TRUTH, EQUAL = GRADED / (1 + GRADED), 0.5


@axiom(
    statement="Of two features that add up, the one that contributes less gets less of the attribution.",
    family="generated",
    # Equal shares come to 0, and so does all for the one; the ratio of the effects to 1. Half of that way is
    # asked for, so that to be right by little, as contrast is for some features, is not enough.
    gate=AtLeast(0.5),
    cites="khakzar2022",
    reads="of the way from equal attribution to the ratio of the effects",
    bounds=(0, 1),
    needs=("logits",),
    on=generated("graded", anew="standard"),
    negative=("random", "edges", "input_magnitude", "center", "constant", "first_feature"),
    positive=("oracle",),
    inputs=16,
)
def graded(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 − |s − 0.29| / (½ − 0.29), at least 0, for the share s = Σ S on b by |Σ S on a| + |Σ S on b|.

    Feature a makes the target, and b adds 0.4 of that effect to the output, beside a and without, so that of
    what both do b has 0.29. They are in order where s is between 0 and ½; the gate asks for 0.18 to 0.39. A
    map that is zero on both counts as equal shares. The evidence has the ratio of the sums, and for which
    samples they are in order.
    """
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    found = amounts(scores, feature_masks(subject, draw))
    total = found.abs().sum(1)
    zero = total == 0
    share = torch.where(zero, EQUAL, found[:, 1] / torch.where(zero, 1.0, total))
    way = 1 - (share - TRUTH).abs() / (EQUAL - TRUTH)
    ratio, ordered = found[:, 1] / found[:, 0], (found[:, 0] > found[:, 1]) & (found[:, 1] > 0)
    told = zeros_told(zero, "counted as 0") or (
        f"the second has {float(ratio.nanmedian()):.2f} of the first, and contributes {GRADED}; "
        f"in order for {int(ordered.sum())} of {len(ordered)} samples"
    )
    evidence = pictures(subject, draw, scores) | {"ratio": ratio, "ordered": ordered}
    return Measurement(way.clamp_min(0), told, evidence)
