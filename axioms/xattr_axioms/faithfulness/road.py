"""Remove and debias."""

from xattr_check.core import Beats, Draw, Explainer, Lines, Measurement, Subject, axiom
from xattr_check.core.units import By
from xattr_check.perturbation.curves import LEAST_EFFECT, nearest, ranked_outputs, whole_shares
from xattr_check.perturbation.fills import REMOVED, Fill
from xattr_check.perturbation.greedy import greedy_curve
from xattr_check.perturbation.outputs import Quantity

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@axiom(
    statement="Without the most relevant features, what is around them no longer tells the target.",
    family="faithfulness",
    # On the digits a blob in the centre comes to 0.41, edges to 0.49, noise to 0.85; good methods to 0.19 at
    # most, the first layer's activations to 0.40, transposed, shifted or flipped maps to 0.47. Input ×
    # gradient comes to 0.36: what it removes is scattered, and those around tell it.
    gate=Beats(by=0.1, lower=True),
    cites="rong2022",
    reads="mean {output} while the top features are {fill}",
    words={
        "output": {
            "probability": "probability of the target",
            "logit": "logit of the target",
            "correct": "accuracy",
        },
        "fill": REMOVED,
    },
    bounds=(0, 1),
    needs=("image",),
    positive=("oracle",),
    # Deletion with another fill; the imputation takes as long as the forwards.
    cost="standard",
)
def road(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fill = "imputed",
    by: By = "pixels",
    output: Quantity = "probability",
) -> Measurement:
    """The target's probability without 10, 30, 50, 70 and 90 % of the features, the mean for each input.

    By default they are imputed by noisy linear imputation: each missing pixel is the weighted mean of its
    neighbours, plus a little noise, so that the shape of what was removed does not tell the class, as a hole
    in one colour may. `output=correct` is the accuracy, which the source reports.
    """
    places = whole_shares(SHARES, subject, by)
    kept = [(share, 1.0) for share in (0.0, *places, 1.0)]
    found = ranked_outputs(method, subject, draw, kept, fill=fill, by=by, output=output)
    curve = found[:, 1:-1]
    lines = Lines(f"share of {by} removed", "output for the target", places, {"": curve})
    best = None
    if output == "probability":
        seen = greedy_curve(subject, draw, places, "removed", "least", fill=fill, by=by)
        unmoved = subject.output.unmoved(found[:, 0], found[:, -1], LEAST_EFFECT)
        best = nearest(0.0, found, unmoved) if seen is None else seen.mean(1)
    return Measurement(curve.mean(1), evidence={"curve": curve}, lines=lines, best=best)
