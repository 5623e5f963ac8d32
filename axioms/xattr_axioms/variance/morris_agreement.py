"""Agreement with Morris screening."""

from dataclasses import replace

from xattr_axioms.variance._variance import agreement, first_draw, outputs_of, regions_of, unreliable
from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.statistics.morris import elementary_effects, screening, trajectories
from xattr_check.statistics.similarity import spearman

# On the digits, ranks by μ* from 8, 16 and 32 trajectories correlate by 0.87, 0.93 and 0.95 with those from
# others, and by 0.92, 0.93 and 0.95 with those by S_T.
SAMPLES = 16


@axiom(
    statement="Regions get attribution in the order of their mean elementary effect.",
    family="variance",
    # On the digits noise comes to 0, a blob in the centre to 0.48 and edges to 0.58; integrated gradients to
    # 0.76, occlusion to 0.81, gradcam to 0.80; a shifted, flipped or transposed map to 0.27 to 0.35.
    gate=Beats(by=0.1),
    cites="mosip2021",
    reads="mean rank correlation of the size of regions' attribution with their mean elementary effect",
    bounds=(-1, 1),
    positive=("oracle",),
    # It decides what sobol_pir decides, in half of the forward passes: 272 for each input.
    cost="standard",
)
def morris_agreement(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Spearman correlation over regions of |Σ attribution| with μ*, for each input.

    Evidence `signed`: that of the signed sums with μ, where the sign counts, of sensitivities too.
    """
    regions = regions_of(subject)
    design = trajectories(regions.count, SAMPLES, draw.generator("trajectories"))
    effects = elementary_effects(design, outputs_of(subject, draw, regions, design, "morris"))
    halves = [screening(half).magnitude for half in effects.chunk(2, dim=1)]
    first_draw(subject, draw, "morris", lambda: unreliable((halves[0], halves[1]), "μ*"))
    found = screening(effects)
    measured = agreement(method, subject, draw, regions, found.magnitude)
    signed = spearman(regions.sums(method.signed(subject.model, draw.inputs, draw.targets)), found.mean)
    return replace(measured, evidence={**measured.evidence, "signed": signed})
