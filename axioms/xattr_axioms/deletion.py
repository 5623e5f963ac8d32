"""Deletion."""

from xattr_check.axiom import Measurement, axiom
from xattr_check.curves import area, ranked_curve
from xattr_check.explainer import Explainer
from xattr_check.fills import mean_fill
from xattr_check.gate import Beats
from xattr_check.run import Draw
from xattr_check.subject import Subject


@axiom(
    statement="Removed in the order of their attribution, features take the target's probability down early.",
    family="faithfulness",
    # On the digits a blob in the centre has an area of 0.29 and edges 0.35, noise 0.49; integrated gradients,
    # gradcam and occlusion 0.12 to 0.15, input × gradient with a wrong sign or axis 0.4 and more.
    gate=Beats(by=0.02, lower=True),
    cites="petsiuk2018",
    reads="mean area under the deletion curve",
    bounds=(0, 1),
    positive=("oracle",),
)
def deletion(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Area under the target's probability while features are replaced by the data's mean, for each input."""
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    curve = ranked_curve(scores, subject, draw, mean_fill(subject, draw.inputs), insert=False)
    return Measurement(area(curve), evidence={"curve": curve})
