"""Pictures of units: where they are on, and which of them an output depends on."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from xattr_check.concepts.attribution import SemanticAttribution
from xattr_check.concepts.dissection import Dissection
from xattr_check.core.context import rows
from xattr_check.core.subject import Subject
from xattr_check.report.drawing import floats, heat
from xattr_check.report.pictures import captioned, composed, display, outlined

# Images of a unit, and those that they are chosen from.
COLUMNS, CHOSEN_FROM = 4, 64
UNITS_FOOT = (
    "Green: where the unit is on. Purple: where the concept is. Of the first 64 images that have it, the "
    "four on which the unit is highest."
)
ATTRIBUTION_FOOT = (
    "Maps of contributions to the output of the target, over the largest in the map: red adds to it, blue "
    "takes away."
)


def units_sheet(subject: Subject, dissection: Dissection, units: Sequence[int], title: str) -> Image.Image:
    """A row for each of some units of the subject's model: images with its concept, and where it is on."""
    bands = [_unit_row(subject, dissection, unit) for unit in units]
    most = max(map(len, bands))
    # A concept may be on fewer images than there are columns.
    even = [[*band, *[Image.new("RGB", (1, 1), "white")] * (most - len(band))] for band in bands]
    return composed(even, title, "", UNITS_FOOT, legend=False)


def _unit_row(subject: Subject, dissection: Dissection, unit: int) -> list[Image.Image]:
    concept = dissection.names[unit]
    masks = subject.concepts[concept]
    with_it = masks.flatten(1).any(1).nonzero()[:CHOSEN_FROM, 0]
    with rows(with_it):
        activations = dissection.units.activations(subject.model, subject.inputs[with_it])[:, unit : unit + 1]
    best = activations.flatten(1).amax(1).argsort(descending=True, stable=True)[:COLUMNS]
    marked = dissection.units.axes.enlarged(activations[best])[:, 0] > dissection.cutoffs[unit].to(
        activations
    )
    iou = float(dissection.ious[unit].max())
    tiles = []
    for place, index in enumerate(with_it[best].tolist()):
        outlines = {"a": marked[place].cpu().numpy(), "b": masks[index, 0].cpu().numpy()}
        tile = outlined(display(floats(subject.inputs[index])), outlines, letters=False)
        head = [f"unit {unit}: {concept}, IoU {iou:.2f}"] if not place else []
        tiles.append(captioned(tile, *head, f"input {index}"))
    return tiles


def attribution_sheet(
    subject: Subject, found: SemanticAttribution, index: torch.Tensor, title: str, most: int = 3
) -> Image.Image:
    """A row for each of some inputs: it, and where the units contribute that its output depends on most.

    found: of the inputs of these numbers, (n,) int64.
    """
    bands = []
    named, order, scores = found.names(most), found.order, found.scores
    maps = [floats(found.maps(rank)[:, 0]) for rank in range(most)]
    for place, number in enumerate(index.tolist()):
        tile = outlined(display(floats(subject.inputs[number])), {}, letters=False)
        tiles = [captioned(tile, f"input {number}, target {int(subject.targets[number])}")]
        for rank in range(most):
            unit = int(order[place, rank])
            share = float(scores[place, unit] / scores[place].sum())
            tile = outlined(heat(np.asarray(maps[rank][place]), 1.0), {}, letters=False)
            tiles.append(
                captioned(tile, f"unit {unit}: {named[place][rank] or 'no concept'}", f"{share:.0%} of all")
            )
        bands.append(tiles)
    return composed(bands, title, "", ATTRIBUTION_FOOT)
