"""Maps beside the subject's masks: how much evidence falls where."""

from functools import partial

import torch
from torch import Tensor

from xattr_check.core import Draw, Explainer, Invalid, Subject, Undefined, axiom
from xattr_check.core.layouts import Beside
from xattr_check.perturbation.curves import LEAST_EFFECT
from xattr_check.perturbation.fills import absent
from xattr_check.perturbation.outputs import outputs_under
from xattr_check.statistics.intervals import mean_interval

# Of a map's maximum: what differs by less is one level.
LEVEL = 1e-6
# A map is told to be coarse from so many features on that have one level, beside masks of fewer cells.
COARSE, CELLS = 2.0, 8
# Of the shorter side: 15 pixels at 240, as published; 2 at 32. A coarse map points next to a thin stroke.
TOLERANCE = 1 / 16
# Of what the output falls by without anything, how much it has to without what is said to be causal: 0.74 on
# the digits, 0.98 and more on four others where it is; 0 where it is another thing's mask, or a mirrored one.
CAUSAL = 0.5
# Declares a check of where maps fall. Edges and a blob in the centre have to be beaten: masks of things that
# photographs show have outlines, and are near the middle more often than not.
localisation = partial(
    axiom,
    family="localisation",
    bounds=(0, 1),
    needs=("mask",),
    positive=("oracle",),
    advisory={"causal": "a map may be right about a model that looks elsewhere than at the mask"},
)


def heat(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    mask: Tensor | None = None,
    targets: Tensor | None = None,
) -> tuple[Tensor, str]:
    """(n, P) float64, the evidence for the target on each feature: what is positive of the scores.

    A map without any says as much as one that is the same everywhere, and counts as that; the finding tells.

    mask: (n, P) for what does not ask how much heat there is, as a share of it or its maximum: the little
        that the negative of a map, or the map of another target, has for this one lies at the same place as
        all that it has against it. A map that speaks against the target there in all counts as the same
        everywhere too.
    targets: (n,) int64 others than those of the draw.
    """
    scores = method.scores(subject.model, draw.inputs, draw.targets if targets is None else targets)
    empty = ~(scores > 0).any(1)
    against = torch.zeros_like(empty) if mask is None else ((scores * mask).sum(1) < 0) & ~empty
    counts = {"no evidence for the target in {} maps": empty, "evidence against it on {} masks": against}
    told = [
        words.format(f"{int(which.sum())} of {len(which)}")
        for words, which in counts.items()
        if bool(which.any())
    ]
    nothing = (empty | against)[:, None]
    finding = f"{' and '.join(told)}, counted as the same everywhere" if told else ""
    return torch.where(nothing, 1.0, scores.clamp_min(0)), finding


def beside_mask(told: str, heat: Tensor, mask: Tensor) -> str:
    """What was told of heat (n, P), and how coarse it is where a mask (n, P) is of few of its cells.

    A cell is as many features as have one level on average, of those that have any heat: what windows and
    regions leave, which is no mistake of the method, though it cannot show what is finer.
    """
    some = [row[row > 0] for row in heat if bool((row > 0).any() & (row != row[0]).any())]
    if not some:
        return told
    levels = sum(len((row / row.max() / LEVEL).round().unique()) for row in some)
    cell, size = sum(map(len, some)) / levels, float(mask.sum(1).double().mean())
    if cell < COARSE or size >= CELLS * cell:
        return told
    coarse = f"the maps have one level for {cell:.2g} features, and the masks are of {size:.2g}"
    return f"{told}; {coarse}" if told else coarse


def foreground(subject: Subject, draw: Draw, name: str = "mask") -> Tensor:
    """(n, P) bool: what makes the target, or has another name. Raises Undefined where that is nothing.

    Raises Invalid where it is said to be causal, and is not.
    """
    mask = draw.truth(name).flatten(1)
    if bool((~mask.any(1)).any()):
        row = int(draw.indices[int((~mask.any(1)).nonzero()[0])])
        raise Undefined(f"the {name} of input {row} of {subject.name!r} is empty")
    if name == "mask" and "causal" in subject.offers:
        _expect_causal(subject, draw, mask)
    return mask


def _expect_causal(subject: Subject, draw: Draw, mask: Tensor) -> None:
    """Raise Invalid where the output falls clearly less without the mask than it would have to.

    To CAUSAL of what it falls by without anything; where that is little, the data's mean is no absence.
    """

    def falls() -> Tensor:
        # Every feature, none, and those that are not on the mask.
        keep = torch.stack([torch.ones_like(mask), torch.zeros_like(mask), ~mask], dim=1)
        outputs = outputs_under(
            subject.model,
            draw.inputs,
            draw.targets,
            absent("mean", subject, draw),
            lambda rows, columns: keep[rows, columns].unflatten(1, subject.spatial),
            keep.shape[1],
            output="probability",
            memory=draw.run.memory,
            layout=subject.layout,
            explained=subject.output,
        )
        whole = outputs[:, :1]
        return subject.output.effect(whole, outputs[:, 1:])

    # Of the first draw, for all of them.
    found = draw.run.once(f"falls without the mask, {subject.fingerprint}", falls).cpu()
    nothing, without = found.mean(0).tolist()
    if nothing >= LEAST_EFFECT and mean_interval(found[:, 1] - CAUSAL * found[:, 0]).high < 0:
        noun, verb = subject.output.noun, subject.output.falls
        raise Invalid(
            f"causal=True says that without the mask the target is gone, and the {noun} {verb} by "
            f"{without:z.2f} then, of the {nothing:.2f} that it {verb} by without anything: the model looks "
            "elsewhere; leave causal out, or give the mask of what it looks at"
        )


def hits_of(subject: Subject, heat: Tensor, mask: Tensor) -> Tensor:
    """(n,) float64: of the places with the highest heat (n, P), the share on a mask (n, P) or beside it."""
    if isinstance(subject.layout, Beside):
        mask = subject.layout.dilated(mask, round(min(subject.spatial) * TOLERANCE))
    highest = heat == heat.amax(1, keepdim=True)
    return (highest & mask).sum(1) / highest.sum(1).double()


def share_on(amounts: Tensor, mask: Tensor) -> Tensor:
    """(n,) share of amounts (n, P), which are not negative, on a mask (n, P); 0 where there are none."""
    return (amounts * mask).sum(1) / amounts.sum(1).clamp_min(1e-300)
