"""Masking of the top and the bottom regions."""

from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.ranges import Part
from xattr_check.core.units import By
from xattr_check.perturbation.curves import LEAST_EFFECT, nearest, ranked_outputs, shares
from xattr_check.perturbation.fills import Fill
from xattr_check.perturbation.greedy import greedy_curve


@axiom(
    statement="Masking the highest fifth takes the target's probability down, masking the lowest does not.",
    family="faithfulness",
    # On the digits edges come to 0.41 and a blob in the centre to 0.38; good methods to 0.80 and more;
    # transposed, shifted or flipped maps to 0.35, the first layer's activations to 0.40. By regions of 4 × 4
    # pixels, a fifth of them holds the digit for edges as for the truth (0.87, 0.88): invalid there, while a
    # tenth of them decides (0.62, 0.82). On columns, integrated gradients come to 0.30 and the input's
    # magnitude to 0.13.
    gate=Beats(by=0.1),
    cites="sbsa2022",
    reads="of the target's probability is lost more by masking the top than by masking the bottom",
    bounds=(-1, 1),
    positive=("oracle",),
    # Two points of the curves of degradation.
    cost="standard",
)
def top_bottom_masking(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fill = "mean",
    by: By = "pixels",
    share: Part = 0.2,
) -> Measurement:
    """The target's probability without the lowest fifth less that without the highest, for each input.

    What is masked becomes the data's mean; `fill=zero` is about the same, and not `fill=black`, where images
    are normalised. `by=regions` masks a fifth of the regions, as the source does.
    """
    kept = [(0.0, 1.0), (1.0, 1.0), (share, 1.0), (0.0, 1 - share)]
    found = ranked_outputs(method, subject, draw, kept, fill=fill, by=by)
    whole, empty, top, bottom = found.unbind(1)
    places = [place for place in shares(subject, by) if place < share]
    most, least = (
        greedy_curve(subject, draw, [*places, share], "removed", seeks, fill=fill, by=by)
        for seeks in ("largest", "least")
    )
    if most is None or least is None:
        unmoved = subject.output.unmoved(whole, empty, LEAST_EFFECT)
        best = nearest(1.0, found, unmoved) - nearest(0.0, found, unmoved)
    else:
        best = most[:, -1] - least[:, -1]
    return Measurement(bottom - top, evidence={"top": whole - top, "bottom": whole - bottom}, best=best)
