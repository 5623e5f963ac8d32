"""Curves of a model's output while features are shown or removed in the order of their attribution."""

import torch
from torch import Tensor

from xattr_check.axiom import Undefined
from xattr_check.perturb import descending_ranks, outputs_under, ranked_masks
from xattr_check.run import Draw
from xattr_check.subject import Subject

# Points of a curve besides its start: 64 pixels each at 32 × 32. Twice as many move an area by < 0.01.
STEPS = 16
# Without this much of the target's probability between both ends, there is nothing to attribute.
LEAST_EFFECT = 0.1


def ranked_curve(scores: Tensor, subject: Subject, draw: Draw, fill: Tensor, *, insert: bool) -> Tensor:
    """(n, STEPS + 1) float64: the target's probability while the top features are shown or removed.

    scores: (n, P), by which features are ranked, ties at random.
    fill: (n, *F), what stands where a feature is absent. insert: shown on the fill, else removed.

    Raises Undefined where the input and the fill have the same output.
    """
    ranks = descending_ranks(scores, draw.generator("ties"))
    counts = torch.linspace(0, scores.shape[1], STEPS + 1, device=scores.device).round().long()
    if not insert:
        ranks, counts = scores.shape[1] - 1 - ranks, scores.shape[1] - counts
    curve = outputs_under(
        subject.model,
        draw.inputs,
        draw.targets,
        fill,
        ranked_masks(ranks, counts, subject.spatial),
        len(counts),
        output="probability",
        memory=draw.run.memory,
    )
    key = f"effect of removal, {insert}, {subject.fingerprint}"
    # Of the first draw, for all of them: later ones must not turn a verdict into none.
    effect: float = draw.run.once(key, lambda: _effect(curve if insert else curve.flip(1)))
    if effect < LEAST_EFFECT:
        raise Undefined(
            f"without its features the target's probability falls by {effect:.2f} on average, and should "
            f"by {LEAST_EFFECT}: the model does not see them as evidence for its targets"
        )
    return curve


def _effect(curve: Tensor) -> float:
    return float((curve[:, -1] - curve[:, 0]).mean())


def area(curve: Tensor) -> Tensor:
    """(n,) area under curves (n, k) over the share of features, by the trapezoid rule, both ends included."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)
