"""Exchanged features."""

import torch

from xattr_axioms.generated._patches import amounts, feature_masks, overlap, pictures, shares_of, zeros_told
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated


@axiom(
    statement="Attribution follows a feature where it changes places with one that never changes the output.",
    family="generated",
    # What belongs to places comes to 1, what follows the feature to 0; as much for both features is the same
    # at either place, and 1 too.
    gate=AtMost(0.25),
    cites="khakzar2022",
    reads="of the attribution stays where the feature was, after it changed places with a null one",
    bounds=(0, 1),
    needs=("logits",),
    on=generated("exchange", anew="standard"),
    # The oracle knows of the inputs before the exchange, and not of those after it.
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    # So many, of which each is asked twice, tell 0.08 from the gate; of 16 none does.
    inputs=24,
)
def exchange(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Σ min(P, Q) over two places, by P of the first and Q of the second, each of P and Q with a total of 1.

    P is |Σ S| at either place with the feature that makes the target at the first one and a null feature at
    the second, and Q the same after they changed places: the overlap of `class_sensitivity_double`, of one
    target and two inputs. What is at the place of an object in one input is a null feature in the other, so
    that neither edges nor a place that is often right tell them apart. A map that is zero on both places, or
    has all at the place of the null feature, counts as 1.
    """
    masks = feature_masks(subject, draw)
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    after = method.scores(subject.model, draw.truth("exchanged"), draw.targets)
    first, second = (shares_of(amounts(one, masks).abs()) for one in (scores, after))
    zero = (first.sum(1) == 0) | (second.sum(1) == 0)
    evidence = pictures(subject, draw, scores) | {"before": first, "after": second}
    found = torch.where(zero, 1.0, overlap(first, second).clamp_max(1))
    return Measurement(found, zeros_told(zero, "counted as 1"), evidence)
