"""Class sensitivity, with a feature for one of two classes."""

import torch
from torch import Tensor

from xattr_axioms.generated._patches import feature_masks, pictures
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated
from xattr_check.statistics.intervals import Batched
from xattr_check.statistics.similarity import spearman

# Of a map's mean magnitude: what a map without background is divided by.
LEAST = 1e-5
# Decimals of the logarithm of a ratio: what is nearer is rounding, and must not be ranked.
DECIMALS = 6


def agreement(rows: Tensor) -> Tensor:
    """(R,) Spearman correlation over samples of the two columns of rows (R, n, 2).

    Two constant columns are the same where they are equal, 1, and have nothing in common otherwise, 0.
    """
    first, second = rows.unbind(2)
    constant = (rows == rows[:, :1]).all(2).all(1)
    return torch.where(constant & (first != second).any(1), 0.0, spearman(first, second))


@axiom(
    statement="How much a feature gets for the class it makes does not foretell what it gets for another.",
    family="generated",
    # The same map for both classes comes to 1, whatever it shows.
    gate=AtMost(0.5),
    cites="khakzar2022",
    reads="rank correlation of the share on a feature for its class and for one that it never changes",
    statistic=Batched(agreement),
    bounds=(-1, 1),
    needs=("image", "classes"),
    on=generated("single"),
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    positive=("oracle",),
    # A bootstrapped interval may be looked at once, not after every few samples.
    inputs=128,
)
def class_sensitivity_single(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Eq. 10 of [khakzar2022] on |S|: for each sample and class, how much more falls inside than outside.

    Columns are the logarithms of (mean |S| inside the feature) / (mean |S| outside) for its own class and
    for the other; units do not matter, since both means are taken relative to the map's.
    """
    inside = feature_masks(subject, draw)[:, 0]
    maps = [
        method.scores(subject.model, draw.inputs, targets)
        for targets in (draw.targets, draw.truth("other_target"))
    ]
    return Measurement(
        torch.stack([_log_ratio(scores.abs(), inside) for scores in maps], dim=1),
        evidence=pictures(subject, draw, *maps),
    )


def _log_ratio(magnitudes: Tensor, inside: Tensor) -> Tensor:
    """(n,) log of mean magnitude (n, P) inside over outside a mask (n, P); 0 for a map of zeros."""
    level = magnitudes.mean(1)
    level = torch.where(level == 0, 1.0, level)
    means = [(magnitudes * mask).sum(1) / mask.sum(1) / level + LEAST for mask in (inside, ~inside)]
    return (means[0] / means[1]).log().round(decimals=DECIMALS)
