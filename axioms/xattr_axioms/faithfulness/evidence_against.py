"""What evidence against is worth beside evidence for."""

import math

import torch
from torch import Tensor

from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.units import By, Units
from xattr_check.perturbation.fills import Fill
from xattr_check.perturbation.subsets import output_changes

# Of a map's amounts: with less below zero it tells hardly any evidence against, and noise has a sign too.
LEAST = 0.05


@axiom(
    statement="Without evidence against the output rises, as it falls without as much evidence for.",
    family="faithfulness",
    # No gate: what right methods have below zero beside an object is not borne out by removal either. With
    # two seeds they came to 0.84 and more on tables and texts, 0.65 and more on signals, and noise to −0.77
    # to 0.08. But on the digits integrated gradients came to −0.2 and deeplift to 0.1, gradcam that is
    # sharpened to −0.3 and occlusion that is to −0.1; on another network of digits expected gradients to 0.1
    # as occlusion that is sharpened.
    gate=AtLeast(-math.inf),
    cites="ancona2018",
    reads="of the effect of as much evidence for is that of evidence against, with the right sign",
    bounds=(-1, 1),
    cost="standard",
    inputs=128,
)
def evidence_against(
    method: Explainer, subject: Subject, draw: Draw, *, fill: Fill = "mean", by: By = "regions"
) -> Measurement:
    """e⁻ / max(|e⁻|, |e⁺|) for each input whose map tells evidence against; e = Σ a·d / Σ a² over one sign.

    a: the amount on a region; d: by how much the output falls when that one is replaced by the data's mean,
    so that e is the effect of one unit of evidence. 1, where evidence against is worth as much as evidence
    for, or more; 0, where nothing happens without it; below zero, where it speaks for the target.

    Raises Undefined for a sensitivity, whose sign is no evidence, and where none of the inputs has a
    twentieth of its map below zero.
    """
    if method.method.sensitivity:
        raise Undefined("the sign of the method is a direction, and no evidence against the target")
    units = Units.of(subject, by)
    amounts = method.scores(subject.model, draw.inputs, draw.targets, units)
    if (valid := units.valid(draw)) is not None:
        amounts = amounts * valid
    below = -amounts.clamp_max(0)
    told = below.sum(1) > LEAST * amounts.abs().sum(1)
    if not bool(told.any()):
        raise Undefined(
            "maps of the method are hardly anywhere negative, and tell no evidence against the target"
        )
    single = torch.eye(units.count, dtype=torch.bool)
    change = output_changes(subject, draw, units, single, fill)[told]
    against, of_target = (worth(one[told], change) for one in (-below, amounts.clamp_min(0)))
    larger = against.abs().maximum(of_target.abs())
    rows = torch.where(larger == 0, 0.0, against / larger.clamp_min(1e-300))
    finding = "" if bool(told.all()) else f"{int(told.sum())} of {len(told)} inputs have evidence against"
    return Measurement(rows, finding, {"against": against, "for": of_target})


def worth(amounts: Tensor, change: Tensor) -> Tensor:
    """(n,) by how much the output falls, change (n, P), without one unit of amounts (n, P).

    By least squares; 0 without any amounts.
    """
    return (amounts * change).sum(1) / (amounts**2).sum(1).clamp_min(1e-300)
