"""Keep and retrain."""

from xattr_axioms.retraining._retraining import PERCENTAGES, retrained
from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.ranges import Percentage
from xattr_check.networks.retrain import retrainable


@axiom(
    statement="Networks trained on the regions ranked highest recognise more than on random ones.",
    family="retraining",
    # On the digits the true mask keeps an accuracy of 0.85, gradients 0.83, gradcam and guided
    # backpropagation 0.86, gradcam transposed 0.51; of the controls edges 0.69, a blob in the centre 0.55 and
    # noise 0.30. A map made of the target's number alone comes to 0.88, since networks read its pattern. So a
    # pass presumes a map of the input and the model, and that the pattern alone does not give the class away.
    gate=Beats(by=0.15),
    cites="hooker2019",
    reads="accuracy of networks trained on the regions ranked highest alone, mean over 10 to 90 % of them, "
    "over inputs and for the networks of this run",
    bounds=(0, 1),
    needs=("recipe", "accuracy"),
    on=retrainable,
    presumes=("depends_on_input", "depends_on_model"),
    negative=("random", "center", "edges"),
    positive=("oracle",),
    cost="standard",
    inputs=100,
)
def kar(
    method: Explainer, subject: Subject, draw: Draw, *, percentages: tuple[Percentage, ...] = PERCENTAGES
) -> Measurement:
    """Share of the networks that recognise an input, one for each percentage kept, for each input.

    Regions are ranked by their mean signed attribution, so that evidence against the target comes last, and
    by the mean magnitude where the method is a sensitivity. Experiments that rank integrated gradients and
    their kin by magnitude judge another ranking: that of the method declared `@xattr_check.sensitivity`.

    percentages: of the regions, how many are kept: `kar?percentages=30+60+90` trains three networks.
    """
    return retrained(method, subject, draw, percentages, best=True)
