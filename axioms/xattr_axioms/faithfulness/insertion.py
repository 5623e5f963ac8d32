"""Insertion."""

from typing import Literal

from xattr_axioms.faithfulness._areas import measure_area
from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.units import By
from xattr_check.perturbation.curves import STEPS, shares
from xattr_check.perturbation.fills import Fill

# What is shown at first by default: as the subject's layout has it.
Canvas = Literal["canvas", Fill]


@axiom(
    statement="Shown in the order of their attribution, features bring the target's probability up early.",
    family="faithfulness",
    # The best control, not noise: on the digits edges have an area of 0.86 and a blob in the centre 0.77,
    # noise 0.60; integrated gradients, gradcam and occlusion 0.94 to 0.96, their transposed maps 0.7.
    gate=Beats(by=0.1),
    cites="petsiuk2018",
    reads="mean area under the insertion curve",
    bounds=(0, 1),
    positive=("oracle",),
)
def insertion(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Canvas = "canvas",
    by: By = "pixels",
    steps: int = STEPS,
) -> Measurement:
    """Area under the target's probability while features are shown on a blurred image, for each input.

    That is `fill=canvas`; of what is no image, it is the data's mean. The blur is an eighth of the smaller
    side: 28 pixels at 224, where [petsiuk2018] and [zhang2021] have 15, so that areas are not to be compared
    with theirs.
    """
    places, start = shares(subject, by, steps), subject.layout.canvas if fill == "canvas" else fill
    return measure_area(method, subject, draw, places, "shown", fill=start, by=by)
