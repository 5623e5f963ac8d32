"""Class sensitivity, with a feature for one of two classes."""

import torch
from torch import Tensor

from xattr_axioms.generated._patches import feature_masks, magnitudes, pictures
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.generation.subjects import generated
from xattr_check.statistics.similarity import spearman

# Of a map's mean magnitude: what a map without background is divided by.
LEAST = 1e-5
# Decimals of the logarithm of a ratio: what is nearer is rounding.
DECIMALS = 6


@axiom(
    statement="A feature gets more for the class that it makes than for one that it never changes.",
    family="generated",
    # What does not know the class comes to 0, and so does noise that it seeds, on average; on the digits a
    # map that takes the magnitude of gradcam's weights to 0.10, fullgrad to 0.13, integrated gradients to
    # 0.21, gradcam to 0.7.
    gate=AtLeast(0.125),
    cites="khakzar2022",
    reads="doublings, at most 1 of each sample, of a feature's attribution from another class to its own",
    bounds=(-1, 1),
    needs=("logits",),
    # On signals gradcam gives little for the other class, all of it to the feature, and comes to -0.4.
    advisory={
        "image": "where a map has little outside of a feature, its share hardly depends on the class",
        # The feature never changes the other class, but its pixels do, this way and that.
        "third_class": "of two classes the one is most of what the other is not, and what pixels of a "
        "feature do to it cancels out, but not in magnitudes",
    },
    on=generated("single"),
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    positive=("oracle",),
)
def class_sensitivity_single(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """How often (mean |S| inside the feature) / (mean |S| outside) doubles from the other class to its own.

    The binary logarithm of one ratio over the other, for each sample, at most 1 either way. The ratios are
    those of Eq. 10 of [khakzar2022]; units do not matter, since both means are taken relative to the map's.

    Beyond images |Σ S| inside takes the place of the mean, and Σ |S| over all that of what is outside, where
    a network that takes a maximum has nothing for either class.

    The paper correlates the two ratios over samples, and low is good: the evidence has it as `published`, of
    the first draw. That tells how much samples have in common with themselves: noise that is drawn anew for
    each class passes, and a map that gives every feature most for its own class, but more to a large one for
    both, fails. A difference within each sample asks for the class alone.
    """
    inside = feature_masks(subject, draw)[:, 0]
    maps = [
        method.scores(subject.model, draw.inputs, targets)
        for targets in (draw.targets, draw.truth("other_target"))
    ]
    if subject.is_image:
        own, other = (_log_ratio(scores.abs(), inside) for scores in maps)
    else:
        sums = [magnitudes(subject, scores, inside[:, None]).flatten() for scores in maps]
        own, other = (_log_share(one, scores.abs()) for one, scores in zip(sums, maps, strict=True))
    evidence = pictures(subject, draw, *maps) | {
        "log_ratio": torch.stack([own, other], dim=1),
        "published": correlation_over_samples(own, other),
    }
    return Measurement((own - other).clamp(-1, 1), evidence=evidence)


def correlation_over_samples(own: Tensor, other: Tensor) -> Tensor:
    """() Spearman correlation of Eq. 10 of [khakzar2022] of two logarithms (n,), over the samples of a draw.

    Constants are the same where they are equal, 1, and have nothing in common otherwise, 0.
    """
    constant = bool((own == own[0]).all() and (other == other[0]).all())
    if constant and bool((own != other).any()):
        return own.new_tensor(0.0)
    return spearman(own[None], other[None])[0]


def _log_ratio(magnitudes: Tensor, inside: Tensor) -> Tensor:
    """(n,) log₂ of mean magnitude (n, P) inside over outside a mask (n, P); 0 for a map of zeros."""
    level = magnitudes.mean(1)
    level = torch.where(level == 0, 1.0, level)
    means = [(magnitudes * mask).sum(1) / mask.sum(1) / level + LEAST for mask in (inside, ~inside)]
    return (means[0] / means[1]).log2().round(decimals=DECIMALS)


def _log_share(inside: Tensor, magnitudes: Tensor) -> Tensor:
    """(n,) log₂ of an amount (n,) over the total of magnitudes (n, P)."""
    total = magnitudes.sum(1)
    share = inside / torch.where(total == 0, 1.0, total)
    return (share + LEAST).log2().round(decimals=DECIMALS)
