"""Scale covariance, by a search for a network on which it fails."""

import copy

from xattr_axioms.exact._search import figure, search
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.magnitudes import Magnitudes
from xattr_check.search.search import Explain, Violation

# Powers of two, which round nothing.
FACTORS = (4.0, 0.25)


@axiom(
    statement="On small networks, outputs multiplied by a positive number have maps multiplied by it.",
    family="exact",
    gate=AtMost(1),
    cites="sundararajan2017",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="scale_covariance",
    negative=("random", "input_magnitude", "constant"),
    inputs=1,
)
def scale_covariance_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The largest |a(cf, x) − c a(f, x)| over what rounding allows, for each network f.

    Its last layer has the weights and biases of f's, multiplied by c.
    """
    return search(violation, method, draw, "scale_covariance_by_search")


def violation(case: Case, explain: Explain) -> Violation:
    """How far the map of a multiple of a network is from the multiple of its map."""
    factor = FACTORS[case.number % len(FACTORS)]
    multiple, x = copy.deepcopy(case.network), case.inputs[:1]
    for values in multiple[-1].parameters():
        values.mul_(factor)
    f, g = maps = explain(case.network, x), explain(multiple, x)
    gaps = (g.double() - factor * f.double()).flatten()
    place = int(gaps.abs().argmax())
    numbers = [figure(one.flatten()[place]) for one in (g, f)]
    equation = (
        f"a(g, x) = {numbers[0]}, and c a(f, x) = {factor:g} · {numbers[1]}, at number {place} of the map; "
        "g = c f"
    )
    allowed = Magnitudes.of(case.network, x).rounding(*maps) * (1 + factor)
    return Violation(
        float(gaps[place].abs()), allowed, equation, {"f": case.network, "g": multiple}, {"x": x[0]}
    )
