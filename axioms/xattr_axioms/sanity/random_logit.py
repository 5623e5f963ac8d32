"""Random logits."""

from itertools import combinations

import torch
from torch import Tensor

from xattr_check.core import Draw, Explainer, Measurement, Reaches, Subject, Undefined, axiom
from xattr_check.statistics.similarity import spearman

# Targets whose maps are compared: the input's own and two others. A map that is the same for all of them but
# for a factor, such as the target's logit, has the same sign for two of the three at least.
TARGETS = 3
# What has to be apart for a map that is nowhere negative to be judged, and what is the same map but for ties.
APART, SAME = 0.5, 1e-6
# What is below zero of a map that is nowhere negative but for rounding, and for enlarging, of its magnitude.
ROUNDING = 0.01


@axiom(
    statement="Maps of different outputs differ at least half as much as the model's own evidence for them.",
    family="sanity",
    # How much outputs have in common is another matter for each model: of three, the two that are most alike
    # come to a difference of 0.84 by the gradient on the digits, where ten classes each want something else,
    # and of 0.61 by occlusion; right methods to 0.39 and more, guided backpropagation to 0.09, deep Taylor to
    # 0.07, whose maps all have one shape and take the sign of the logit, noise of the input's own to 0.
    gate=Reaches(0.5, of=("gradient", "occlusion"), least=0.05),
    cites="sixt2020",
    reads="of the way from the same map to an unrelated one lies between those of different outputs",
    bounds=(0, 1),
    negative=("random", "edges", "input_magnitude"),
    cost="standard",
)
def random_logit(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 − ρ for each input, of the two most alike of the maps of its target and two others, drawn at random.

    ρ is the Spearman correlation of maps with their signs, those of a sensitivity too, since a direction
    turns with the output as evidence does; 0 where it is less. Two outputs that are each other's negative
    have maps that are, and one with the same magnitudes and no signs tells them not apart: what is nowhere
    negative, but for a hundredth of its magnitude, and not half as far apart as unrelated maps is judged only
    where it is the same map for all, and Undefined otherwise. So is a model of one output.
    """
    outputs = subject.examination.outputs
    if outputs < 2:
        raise Undefined(f"the model of {subject.name!r} has one output, and so there is one target")
    # Another order of the others for each input, however many there are.
    keys = torch.rand(len(draw.inputs), outputs - 1, generator=draw.generator("outputs"))
    steps = keys.argsort(1)[:, : TARGETS - 1].to(draw.targets) + 1
    asked = [draw.targets, *((draw.targets + step) % outputs for step in steps.unbind(1))]
    maps = [_without_padding(method.signed(subject.model, draw.inputs, one), draw) for one in asked]
    pairs = torch.stack([spearman(*pair) for pair in combinations(maps, 2)], dim=1)
    likeness = pairs.amax(1).clamp_min(0)
    if _nowhere_negative(maps) and SAME < 1 - float(likeness.mean()) < APART:
        raise Undefined(
            "maps of the method are nowhere negative, so that what speaks for one output looks as what "
            f"speaks against another; those of different outputs are alike to {float(likeness.mean()):.2f}"
        )
    return Measurement(1 - likeness, evidence={"likeness": pairs})


def _without_padding(maps: Tensor, draw: Draw) -> Tensor:
    """Maps (n, P), NaN on padding, where they count in no correlation."""
    return maps if draw.valid is None else maps.masked_fill(~draw.valid, torch.nan)


def _nowhere_negative(maps: list[Tensor]) -> bool:
    """Whether hardly anything of maps (n, P) is below zero."""
    found = torch.stack(maps)
    return bool(-found.clamp_max(0).nansum() <= ROUNDING * found.abs().nansum())
