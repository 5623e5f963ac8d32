"""Infidelity."""

import torch
from torch import Tensor

from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.layouts import Beside
from xattr_check.core.units import By, Units
from xattr_check.perturbation.fills import Fixed, fixed
from xattr_check.perturbation.subsets import output_changes, random_subsets

PARTS = 64


def random_parts(subject: Subject, by: By, units: int, count: int, generator: torch.Generator) -> Tensor:
    """(count, units) bool: windows, squares of an image, anywhere, in all channels or in one.

    They take a sixteenth of an input, and so do regions; a quarter of what has no neighbours, as columns.
    """
    layout = subject.layout
    if by == "regions" or not isinstance(layout, Beside):
        share = 16 if by == "regions" else 4
        return random_subsets(count, max(1, units // share), units, generator)
    side = layout.window

    def within(length: int) -> Tensor:
        start = torch.randint(length - side + 1, (count, 1), generator=generator)
        place = torch.arange(length)
        return (place >= start) & (place < start + side)

    parts = torch.ones(count, dtype=torch.bool)
    for axis, length in enumerate(layout.spatial):
        parts = parts[..., None] & within(length).reshape(count, *[1] * axis, length)
    if by == "channels":
        channels = subject.inputs.shape[1]
        chosen = torch.randint(channels, (count, 1), generator=generator) == torch.arange(channels)
        parts = chosen.reshape(count, channels, *[1] * len(layout.spatial)) & layout.expand(parts)
    return parts.flatten(1)


@axiom(
    statement="Attributions predict, up to one factor, how much the output changes when parts are replaced.",
    family="faithfulness",
    # On the digits edges come to 0.42, a blob in the centre to 0.70, a constant to 0.73, noise to 0.97; the
    # mask to 0.10, integrated gradients to 0.12, gradcam to 0.17; transposed, shifted or flipped maps to
    # 0.65. A gradient comes to 0.44, and so does input × gradient: the slope does not foretell what happens
    # when a whole square is replaced.
    gate=Beats(by=0.1, lower=True),
    cites="yeh2019",
    reads="of the output's changes is not explained",
    bounds=(0, 1),
    positive=("oracle",),
    cost="standard",
)
def infidelity(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fixed = "mean",
    by: By = "pixels",
    parts: int = PARTS,
) -> Measurement:
    """Mean square of what the best positive factor leaves unexplained, over the mean square of the changes.

    What is predicted for a replaced part is the sum of its attributions; of the map times what is replaced,
    (x − x′), where the method is a sensitivity. Infidelity depends on the scale of a map, so it is taken
    with the factor that suits each input best, as in [yeh2019]; a map that has to be negated explains
    nothing: 1. Parts are squares, replaced by the data's mean; `by=channels` takes each from one channel
    alone, and by regions a part is a few of them.
    """
    units = Units.of(subject, by)
    removed = random_parts(subject, by, units.count, parts, draw.generator("parts"))
    change = output_changes(subject, draw, units, removed, fill)
    maps = method(subject.model, draw.inputs, draw.targets)
    if method.method.sensitivity:
        maps = maps * (draw.inputs - fixed(fill, subject, draw))
    predicted = units.sums(maps) @ removed.to(maps.device, torch.float64).T
    explained = (predicted * change).sum(1).clamp_min(0) ** 2 / (predicted**2).sum(1).clamp_min(1e-300)
    return Measurement(1 - explained / (change**2).sum(1).clamp_min(1e-300))
