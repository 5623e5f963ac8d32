"""Areas under the target's probability while features are removed or shown in the order of a map."""

from collections.abc import Sequence

from xattr_check.core import Draw, Explainer, Lines, Measurement, Subject
from xattr_check.core.units import By
from xattr_check.perturbation.curves import area, ranked_outputs, shares
from xattr_check.perturbation.fills import Fill


def measure_area(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    kept: Sequence[tuple[float, float]],
    done: str,
    *,
    fill: Fill,
    by: By,
) -> Measurement:
    """Area under the target's probability, for each input; the curve is in the evidence and drawn.

    kept: from which to which share of the features is left at each of the evenly spaced points of the curve,
        as for `ranked_outputs`. done: what is done to more and more of them: `removed`, `shown`.
    """
    curve = ranked_outputs(method, subject, draw, kept, fill=fill, by=by)
    places = shares(len(kept) - 1)
    lines = Lines(f"share of {by} {done}", "probability of the target", places, {"": curve})
    return Measurement(area(curve), evidence={"curve": curve}, lines=lines)
