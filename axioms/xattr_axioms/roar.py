"""Remove and retrain."""

from xattr_axioms._retraining import retrained
from xattr_check.axiom import Measurement, axiom
from xattr_check.explainer import Explainer
from xattr_check.gate import Beats
from xattr_check.retrain import retrainable
from xattr_check.run import Draw
from xattr_check.subject import Subject


@axiom(
    statement="Networks trained without the regions ranked highest recognise less than without random ones.",
    family="retraining",
    gate=Beats(by=0.02, lower=True),
    cites="hooker2019",
    reads="accuracy of networks trained without the regions ranked highest, mean over 10 to 90 % of them",
    bounds=(0, 1),
    needs=("recipe",),
    on=retrainable,
    negative=("random",),
    positive=("oracle",),
    cost="standard",
    inputs=100,
)
def roar(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Share of the networks that recognise an input, one for each percentage removed, for each input."""
    return retrained(method, subject, draw, best=False)
