"""Agreement with the Sobol decomposition."""

from dataclasses import replace

import torch
from torch import Tensor

from xattr_axioms.variance._variance import agreement, first_draw, outputs_of, regions_of, unreliable
from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.statistics.sobol import bootstrap, half_width, saltelli, sobol_indices

# On the digits, ranks by S_T from 16, 32 and 64 samples correlate by 0.90, 0.94 and 0.96 with those from
# other samples.
SAMPLES = 32
RESAMPLES = 400
# How many of the regions that matter may have an S₁ above S_T by more than its error, as a share and at
# least: where both are equal, in sums, intervals of 99.8 % from so few samples leave up to 6 % of them above.
LEVEL, ABOVE, FEW = 0.998, 0.1, 3


def above(outputs: Tensor, regions: int, resamples: Tensor) -> Tensor:
    """(m,) bool: whether S₁ exceeds S_T by more than its sampling error, for the regions that matter.

    outputs: (n, K) on Saltelli's design. Those matter that have at least their share of 1 / regions.
    """
    found, again = (sobol_indices(outputs, regions, weights) for weights in (None, resamples))
    exceeds = found.first - found.total > half_width(again.first - again.total, LEVEL)
    return exceeds[found.total >= 1 / regions]


def untrusted(outputs: Tensor, regions: int, resamples: Tensor) -> str:
    """Why the indices on Saltelli's design say nothing, or an empty string."""
    found = above(outputs, regions, resamples)
    if int(found.sum()) > max(FEW, ABOVE * len(found)):
        return (
            f"S₁ exceeds S_T, beyond its interval, in {float(found.double().mean()):.0%} of the regions that "
            "matter: the output is no function of their gains alone"
        )
    first, second = (sobol_indices(half, regions).total for half in outputs.chunk(2, dim=1))
    return unreliable((first, second), "S_T")


@axiom(
    statement="Regions get attribution in the order of their share of the output's variance.",
    family="variance",
    # On the digits noise comes to 0, a blob in the centre to 0.48 and edges to 0.60; integrated gradients to
    # 0.78, occlusion to 0.83, gradcam to 0.82; a shifted, flipped or transposed map to 0.26 to 0.34.
    gate=Beats(by=0.1),
    cites="sbsa2022",
    reads="mean rank correlation of the size of regions' attribution with their total Sobol index",
    bounds=(-1, 1),
    positive=("oracle",),
    # 576 forward passes for each input, and what it decides is what sensitivity_n decides, but for the sign.
    cost="standard",
)
def sobol_pir(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Spearman correlation over regions of |Σ attribution| with S_T, for each input.

    Gains of the regions are independent, so that 0 ≤ S₁ ≤ S_T whatever the model; where the primary index
    ratio S₁/S_T is above 1 nevertheless, or S_T depends on the samples, the check is invalid.
    """
    regions = regions_of(subject)
    outputs = outputs_of(subject, draw, regions, saltelli(regions.count, SAMPLES, draw.seed), "sobol")
    resamples = bootstrap(SAMPLES, RESAMPLES, draw.generator("bootstrap"))
    first_draw(subject, draw, "sobol", lambda: untrusted(outputs, regions.count, resamples))
    found = sobol_indices(outputs, regions.count)
    ratio = found.ratio.where(found.total >= 1 / regions.count, torch.nan)  # else it is noise
    measured = agreement(method, subject, draw, regions, found.total, {"primary index ratio": ratio})
    return replace(measured, evidence={**measured.evidence, "first": found.first})
