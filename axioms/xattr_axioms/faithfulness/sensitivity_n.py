"""Sensitivity-n."""

import torch

from xattr_check.core import Beats, Draw, Explainer, Lines, Measurement, Subject, Undefined, axiom
from xattr_check.core.units import By, Units
from xattr_check.perturbation.fills import Fill
from xattr_check.perturbation.subsets import output_changes, same_everywhere, subsets_of, sums_over
from xattr_check.statistics.similarity import correlation

SUBSETS = 64


@axiom(
    statement="The attribution of a set of regions goes with the change of the output without them.",
    family="faithfulness",
    # On the digits edges come to 0.54, a blob in the centre to 0.21 and noise to 0; integrated gradients to
    # 0.84, occlusion to 0.79, gradcam to 0.65; a shifted or transposed map to 0.2. The margin has to tell a
    # detector of edges of another kind, such as the first layer's activations at 0.46, from an explanation.
    gate=Beats(by=0.1),
    cites="ancona2018",
    reads="mean correlation of attribution sums with output changes over random sets of {by}",
    words={"by": {}},
    bounds=(-1, 1),
    positive=("oracle",),
)
def sensitivity_n(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fill = "mean",
    by: By = "regions",
    subsets: int = SUBSETS,
) -> Measurement:
    """Pearson correlation over subsets of n regions, for each input, averaged over log-spaced n.

    Regions, since single random pixels say nothing at large n: a thirty-second, an eighth and a third of
    them, in 64 sets each, where [ancona2018] goes through all n, in 100. For one of another size there is
    `faithfulness_correlation?by=regions&size=0.5`. What is removed becomes the data's mean, in the source
    zero. Sums are signed, as there, but for a sensitivity, whose sign is no evidence: of it, magnitudes are
    added up, and the figure of a raw gradient is not the published quantity.
    """
    units = Units.of(subject, by)
    if units.count < 4:
        raise Undefined(f"needs at least 4 {by}, this subject has {units.count}")
    sizes = sorted({max(1, round(units.count * share)) for share in (1 / 32, 1 / 8, 1 / 3)})
    removed = subsets_of(draw, units, sizes, subsets)
    change = output_changes(subject, draw, units, removed, fill)
    by_unit = method.scores(subject.model, draw.inputs, draw.targets, units)
    sums = sums_over(by_unit, removed)
    rows = torch.stack(
        [
            # An output that never changes agrees with nothing, not even with attributions that never do.
            torch.where((two == two[:, :1]).all(1), 0.0, correlation(one, two))
            for one, two in zip(sums.split(subsets, 1), change.split(subsets, 1), strict=True)
        ],
        dim=1,
    )
    evidence = {"correlation_by_n": rows, "n": torch.tensor(sizes)}
    lines = Lines(f"{by} in a set", "correlation with the output's change", sizes, {"": rows})
    return Measurement(rows.mean(1), same_everywhere(by_unit), evidence, lines)
