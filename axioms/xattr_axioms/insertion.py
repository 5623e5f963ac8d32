"""Insertion."""

from xattr_check.axiom import Measurement, axiom
from xattr_check.curves import area, ranked_curve
from xattr_check.explainer import Explainer
from xattr_check.fills import blurred, mean_fill
from xattr_check.gate import Beats
from xattr_check.run import Draw
from xattr_check.subject import Subject


@axiom(
    statement="Shown in the order of their attribution, features bring the target's probability up early.",
    family="faithfulness",
    # The best control, not noise: on the digits edges have an area of 0.86 and a blob in the centre 0.77,
    # noise 0.60; integrated gradients, gradcam and occlusion 0.94 to 0.96, their transposed maps 0.7.
    gate=Beats(by=0.02),
    cites="petsiuk2018",
    reads="mean area under the insertion curve",
    bounds=(0, 1),
    positive=("oracle",),
)
def insertion(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Area under the target's probability while features are shown on a blurred image, for each input."""
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    # The blur of [petsiuk2018], sigma 15 at 224 pixels, keeps digits legible at 32; an eighth does not.
    fill = (
        blurred(draw.inputs, min(subject.spatial) / 8)
        if subject.is_image
        else mean_fill(subject, draw.inputs)
    )
    curve = ranked_curve(scores, subject, draw, fill, insert=True)
    return Measurement(area(curve), evidence={"curve": curve})
