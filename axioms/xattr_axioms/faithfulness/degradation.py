"""Input degradation, the most and the least relevant features first."""

from typing import Literal

from torch import Tensor

from xattr_check.core import Beats, Draw, Explainer, Lines, Measurement, Subject, axiom
from xattr_check.core.units import By
from xattr_check.perturbation.curves import LEAST_EFFECT, STEPS, area, between, ranked_outputs, shares
from xattr_check.perturbation.fills import Fill
from xattr_check.perturbation.greedy import greedy_curve

Order = Literal["both", "morf", "lerf"]


@axiom(
    statement="The output changes early without the most relevant features, and late without the least.",
    family="faithfulness",
    # On the digits a detector of edges comes to 0.45, a blob in the centre to 0.39 and noise to 0; good
    # methods to 0.75 and more; transposed, shifted or flipped maps to 0.33, the first layer's activations
    # to 0.50, which the margin has to tell from an explanation.
    gate=Beats(by=0.2),
    cites="samek2017",
    reads="mean area {order}",
    words={
        "order": {
            "both": "between the output's changes, the most relevant features removed first or the least",
            "morf": "under the output's change, the most relevant features removed first",
            "lerf": "above the output's change, the least relevant features removed first",
        }
    },
    bounds=(-1, 1),
    # A fraction of a probability, which a value is not.
    needs=("probability",),
    positive=("oracle",),
    # In the middle between deletion and insertion, whose verdicts it repeats.
    cost="standard",
)
def degradation(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fill = "mean",
    by: By = "pixels",
    order: Order = "both",
    steps: int = STEPS,
) -> Measurement:
    """Area under the change with the most relevant features first, less that with the least, for each input.

    The change is the fraction of the target's probability that is lost or gained, of the larger of both, as
    in chapter 5 of [khakzar2021] where it is lost. What is removed becomes the data's mean in both orders, so
    that whatever a fill does to the model by itself is in both areas. `order=morf` judges the first area
    alone, `order=lerf` one less the second.
    """
    places = shares(subject, by, steps)
    kept = [(share, 1.0) for share in places] + [(0.0, 1 - share) for share in places]
    found = ranked_outputs(method, subject, draw, kept, fill=fill, by=by)
    whole = found[:, :1]
    morf, lerf = _change(found, whole).split(len(places), dim=1)
    seen = [
        greedy_curve(subject, draw, places, "removed", seeks, fill=fill, by=by)
        for seeks in ("least", "largest")
    ]
    unmoved = subject.output.unmoved(found[:, 0], found[:, len(places) - 1], LEAST_EFFECT)
    best = [
        between(change, bound, unmoved) if curve is None else _change(curve, whole)
        for curve, change, bound in zip(seen, (morf, lerf), (1.0, 0.0), strict=True)
    ]
    orders = {"most relevant first": morf, "least relevant first": lerf}
    lines = Lines(f"share of {by} removed", "change of the probability", places, orders)
    return Measurement(
        _judged(area(morf, places), area(lerf, places), order),
        evidence={"morf": morf, "lerf": lerf},
        lines=lines,
        best=_judged(area(best[0], places), area(best[1], places), order),
    )


def _change(found: Tensor, whole: Tensor) -> Tensor:
    """The fraction that is lost or gained, of the larger of both."""
    return (found - whole).abs() / found.maximum(whole).clamp_min(1e-300)


def _judged(early: Tensor, late: Tensor, order: Order) -> Tensor:
    """What is judged of the areas with the most and with the least relevant features first."""
    return {"both": early - late, "morf": early, "lerf": 1 - late}[order]
