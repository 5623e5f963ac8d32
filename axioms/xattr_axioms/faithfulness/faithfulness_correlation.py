"""Faithfulness correlation."""

import torch

from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.ranges import Part
from xattr_check.core.units import By, Units
from xattr_check.perturbation.fills import Fill
from xattr_check.perturbation.subsets import (
    output_changes,
    random_subsets,
    random_subsets_among,
    same_everywhere,
    sums_over,
)
from xattr_check.statistics.similarity import correlation

SUBSETS = 64
# Of all pixels: enough to change the output, and few enough that the sums differ.
SIZE = 0.02


@axiom(
    statement="The attribution of a random set of pixels goes with the change of the output without them.",
    family="faithfulness",
    # On the digits edges come to 0.15, a blob in the centre to 0.13 and noise to 0; integrated gradients to
    # 0.80, input × gradient to 0.72, gradient and gradcam to 0.36; transposed, shifted or flipped maps to
    # 0.11, the first layer's activations to 0.17.
    gate=Beats(by=0.1),
    cites="bhatt2020",
    reads="mean correlation of attribution sums with output changes over random sets of one size",
    bounds=(-1, 1),
    positive=("oracle",),
    # Sensitivity-n at a single n, for single pixels.
    cost="standard",
)
def faithfulness_correlation(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fill = "mean",
    by: By = "pixels",
    size: Part = SIZE,
    subsets: int = SUBSETS,
) -> Measurement:
    """Pearson correlation over random sets of one size, others for each input.

    Of single features where `size`, the share of a set, is small enough: as in [alvarezmelis2018]. What is
    removed becomes the data's mean. Sums are signed, as in the source, but for a sensitivity, whose sign is
    no evidence: of it, magnitudes are added up, and its figure is not the published quantity.
    """
    units = Units.of(subject, by)
    if units.count < 4:
        raise Undefined(f"needs at least 4 features, this subject has {units.count}")
    number = min(units.count - 1, max(1, round(units.count * size)))
    valid = units.valid(draw)
    removed = torch.stack(
        [
            random_subsets(subsets, number, units.count, draw.generator("subsets", index))
            if valid is None
            else random_subsets_among(valid[row].cpu(), size, subsets, draw.generator("subsets", index))
            for row, index in enumerate(draw.indices.tolist())
        ]
    )
    change = output_changes(subject, draw, units, removed, fill)
    by_unit = method.scores(subject.model, draw.inputs, draw.targets, units)
    if valid is None:
        members = removed.nonzero()[:, 2].reshape(len(by_unit), -1).to(by_unit.device)
        sums = by_unit.gather(1, members).reshape(len(by_unit), subsets, number).sum(2)
    else:
        sums = sums_over(by_unit, removed)
    rows = torch.where((change == change[:, :1]).all(1), 0.0, correlation(sums, change))
    return Measurement(rows, same_everywhere(by_unit))
