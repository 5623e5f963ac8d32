"""Remove and retrain."""

from xattr_axioms.retraining._retraining import PERCENTAGES, retrained
from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.ranges import Percentage
from xattr_check.networks.retrain import retrainable


@axiom(
    statement="Networks trained without the regions ranked highest recognise less than without random ones.",
    family="retraining",
    # On the digits, where noise leaves an accuracy of 0.29, the true mask leaves 0.10, gradients 0.11, guided
    # backpropagation 0.12, gradcam 0.17, gradcam transposed 0.30 and with a wrong sign 0.85. A blob in the
    # centre leaves 0.21, better than noise by no more than the margin and an interval. Edges leave 0.14: they
    # do find the digit, so a pass presumes a map of the input and the model. A pattern of the fill that gives
    # a class away can only leave more to recognise, so that no pass is owed to it.
    gate=Beats(by=0.15, lower=True),
    cites="hooker2019",
    reads="accuracy of networks trained without the regions ranked highest, mean over 10 to 90 % of them, "
    "over inputs and for the networks of this run",
    bounds=(0, 1),
    needs=("recipe", "accuracy"),
    on=retrainable,
    presumes=("depends_on_input", "depends_on_model"),
    negative=("random",),
    positive=("oracle",),
    cost="standard",
    inputs=100,
)
def roar(
    method: Explainer, subject: Subject, draw: Draw, *, percentages: tuple[Percentage, ...] = PERCENTAGES
) -> Measurement:
    """Share of the networks that recognise an input, one for each percentage removed, for each input.

    Regions are ranked by their mean signed attribution, so that evidence against the target comes last, and
    by the mean magnitude where the method is a sensitivity. Experiments that rank integrated gradients and
    their kin by magnitude judge another ranking: that of the method declared `@xattr_check.sensitivity`.

    percentages: of the regions, how many are removed: `roar?percentages=30+60+90` trains three networks.
    """
    return retrained(method, subject, draw, percentages, best=False)
