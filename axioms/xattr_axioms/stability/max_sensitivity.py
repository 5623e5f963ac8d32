"""Max-sensitivity."""

import math

from xattr_axioms.stability._neighbours import map_changes, neighbours
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom


@axiom(
    statement="How much a map changes, at the most, where the input hardly does.",
    family="stability",
    # A constant map never changes, and a right map of a steep model does: how much is too much, no control
    # tells. Who wants a gate says where: gates: {max_sensitivity: {at_most: 1}} in xattr.yaml.
    gate=AtMost(math.inf),
    cites="yeh2019",
    reads="of its norm is the largest change of a map beside its input",
    bounds=(0, math.inf),
    cost="standard",
)
def max_sensitivity(method: Explainer, subject: Subject, draw: Draw, *, radius: float = 0.1) -> Measurement:
    """max ‖Φ(x′) − Φ(x)‖ / ‖Φ(x)‖ over eight neighbours x′ of each input.

    Φ is the map with its signs, summed over channels, for the input's target. Neighbours differ by at most a
    share of the deviation of each number, ten percent, which is the radius; the source has 0.02 to 0.2 of
    the values as they are.
    """
    found = list(neighbours(draw, radius))
    changes = map_changes(method, draw, found)
    return Measurement(changes.amax(1), evidence={"changes": changes})
