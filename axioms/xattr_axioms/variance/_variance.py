"""Regions whose gains are sampled, and how a method's attribution of them goes with what they do."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from xattr_check.core import Draw, Explainer, Invalid, Lines, Measurement, Subject, Undefined
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.perturbation.subsets import same_everywhere
from xattr_check.statistics.similarity import spearman
from xattr_check.storage.digest import digest

# About so many, 4 × 4 on an image. A design costs samples × (regions + 2) forward passes for each input, so
# that 8 × 8 regions cost 3.7 times as much.
COUNT = 16
# A subject's own regions are taken where they are no more.
MOST = 32
LEAST = 4
# A region's contrast to where it is absent, at most: from none to twice its own, as in [sbsa2022].
GAIN = 2.0
# Rank correlation of two halves of a design below which its ranking is mostly noise.
RELIABLE = 0.5


def regions_of(subject: Subject) -> SemanticMap:
    """The subject's own regions where they are few, else a grid, on its device. Raises Undefined."""
    found = SemanticMap.of(subject.layout.coarse(COUNT)[None])
    if subject.regions is not None:
        own = SemanticMap.of(subject.regions[None])
        found = own if own.count <= MOST else found
    if found.count < LEAST:
        raise Undefined(f"needs at least {LEAST} regions, this subject has {found.count}")
    return found.to(subject.inputs.device)


def outputs_of(subject: Subject, draw: Draw, regions: SemanticMap, design: Tensor, kind: str) -> Tensor:
    """(n, K) float64: the target's logit at the gains of a design (K, count) in 0…1, from the store.

    They depend on the model and the design alone. A gain of 0 is the mean of the data.
    Raises Undefined where no output changes.
    """

    def compute() -> dict[str, Tensor]:
        fill = mean_fill(subject, draw.inputs)
        outputs = regions.outputs(
            subject.model, draw.inputs, draw.targets, fill, GAIN * design, output="logit",
            memory=draw.run.memory, layout=subject.layout,
        )  # fmt: skip
        return {"outputs": outputs}

    outputs = draw.shared(kind, compute, regions=digest(regions.index), design=digest(design))["outputs"]
    if bool((outputs == outputs[:, :1]).all()):
        raise Undefined("the model's output is the same whichever regions fade")
    return outputs


def first_draw(subject: Subject, draw: Draw, kind: str, judge: Callable[[], str]) -> None:
    """Raise Invalid for the reason that judge gives on the first draw of a run, if it gives one.

    Of the first for all of them: later ones must not turn a verdict into none.
    """
    if reason := draw.run.once(f"{kind} of {subject.fingerprint}", judge):
        raise Invalid(reason)


def unreliable(halves: tuple[Tensor, Tensor], what: str) -> str:
    """Why importances (n, D) from two halves of the samples rank regions by noise, or an empty string."""
    found = float(spearman(*halves).mean())
    if found >= RELIABLE:
        return ""
    return (
        f"{what} ranks the regions otherwise in each half of its samples: their rank correlation is "
        f"{found:.2f}, and should be {RELIABLE:g} or more"
    )


def agreement(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    regions: SemanticMap,
    importance: Tensor,
    beside: Mapping[str, Tensor] | None = None,
) -> Measurement:
    """Rank correlation of |Σ attribution of a region| with its importance (n, D), for each input.

    What a region's gain does to an output that is linear in it is the sum of its attributions, as far as it
    varies, so that pixels for and against the target cancel; whether the sum is positive says nothing about
    a variance. Of a sensitivity, magnitudes are summed.

    beside: other shares of the regions (n, D), for the report.
    """
    sums = regions.sums(method.scores(subject.model, draw.inputs, draw.targets)).abs()
    # An output that never changes agrees with nothing, not even with attributions that never do.
    silent = (importance == importance[:, :1]).all(1)
    rows = torch.where(silent, 0.0, spearman(sums, importance))
    order = importance.argsort(dim=1, descending=True, stable=True)
    shares = {
        "attribution": sums / sums.sum(1, keepdim=True),
        "importance": importance / importance.sum(1, keepdim=True),
        **(beside or {}),
    }
    ordered = {told: found.gather(1, order) for told, found in shares.items()}
    places = list(range(1, importance.shape[1] + 1))
    lines = Lines("regions, the most important first", "share", places, ordered)
    return Measurement(rows, same_everywhere(sums), {"importance": importance, "sums": sums}, lines)
