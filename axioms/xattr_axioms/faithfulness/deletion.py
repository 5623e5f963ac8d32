"""Deletion."""

from xattr_axioms.faithfulness._areas import measure_area
from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.units import By
from xattr_check.perturbation.curves import STEPS, shares
from xattr_check.perturbation.fills import Fill


@axiom(
    statement="Removed in the order of their attribution, features take the target's probability down early.",
    family="faithfulness",
    # On the digits a blob in the centre has an area of 0.29 and edges 0.35, noise 0.49; integrated gradients,
    # gradcam and occlusion 0.12 to 0.15, input × gradient with a wrong sign or axis 0.4 and more.
    gate=Beats(by=0.1, lower=True),
    cites="petsiuk2018",
    reads="mean area under the deletion curve",
    bounds=(0, 1),
    positive=("oracle",),
)
def deletion(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fill = "mean",
    by: By = "pixels",
    steps: int = STEPS,
) -> Measurement:
    """Area under the target's probability while features are replaced by the data's mean, for each input.

    Not by black, as in [zhang2021]: `fill=zero` is zero as the model is given it, which for normalised images
    is about the mean again. Black is to be had as `fill=black`, of a subject that knows what it is.
    """
    places = shares(subject, by, steps)
    return measure_area(method, subject, draw, places, "removed", fill=fill, by=by)
