"""Areas under the target's probability while features are removed or shown in the order of a map."""

from collections.abc import Sequence

from xattr_check.core import Draw, Explainer, Lines, Measurement, Subject
from xattr_check.core.units import By, Units
from xattr_check.perturbation.curves import LEAST_EFFECT, area, between, ranked_outputs
from xattr_check.perturbation.fills import Fill
from xattr_check.perturbation.greedy import Done, Seeks, greedy_curve


def measure_area(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    places: Sequence[float],
    done: Done,
    *,
    fill: Fill,
    by: By,
) -> Measurement:
    """Area under the target's probability, for each input; the curve is in the evidence and drawn.

    places: the shares of the features at the points of the curve. done: what is done to so many of them.
    """
    kept = [(share, 1.0) if done == "removed" else (0.0, share) for share in places]
    curve = ranked_outputs(method, subject, draw, kept, fill=fill, by=by)
    lines = Lines(f"share of {by} {done}", subject.output.noun, places, {"": curve})
    seeks: Seeks = "least" if done == "removed" else "largest"
    best = greedy_curve(subject, draw, places, done, seeks, fill=fill, by=by)
    if best is None:
        bound, (full, empty) = (0.0, (0, -1)) if done == "removed" else (1.0, (-1, 0))
        unmoved = subject.output.unmoved(curve[:, full], curve[:, empty], LEAST_EFFECT)
        best = between(curve, bound, unmoved)
    samples, best, evidence = area(curve, places), area(best, places), {"curve": curve}
    return Measurement(samples, evidence=evidence, lines=lines, best=best, ask=_coarser(subject, by))


def _coarser(subject: Subject, by: By) -> dict[str, object]:
    """Regions in place of pixels, where they are of more than one.

    Single pixels that are left of a thing may look like another one, as those of a spot like a texture.
    """
    fewer = by == "pixels" and Units.of(subject, "regions").count < Units.of(subject, by).count
    return {"by": "regions"} if fewer else {}
