"""Linearity, by a search for a network on which it fails."""

import copy

from xattr_axioms.exact._search import figure, search
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.magnitudes import Magnitudes
from xattr_check.search.search import Explain, Violation

# α and β.
FACTORS = ((1.0, 1.0), (1.0, -1.0), (2.0, -1.0))


@axiom(
    statement="On small networks, the attribution of a sum of two outputs is the sum of their attributions.",
    family="exact",
    gate=AtMost(1),
    cites="sundararajan2017",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="linearity",
    negative=("random", "input_magnitude", "constant"),
    inputs=1,
)
def linearity_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The largest |a(αf + βg) − αa(f) − βa(g)| over what rounding allows, for each network.

    f, g and αf + βg are its three outputs.
    """
    return search(violation, method, draw, "linearity_by_search", outputs=3)


def violation(case: Case, explain: Explain) -> Violation:
    """How far the map of a sum is from the sum of the maps."""
    first, second = FACTORS[case.number % len(FACTORS)]
    network, x = copy.deepcopy(case.network), case.inputs[:1]
    for values in network[-1].parameters():
        values[2] = first * values[0] + second * values[1]
    f, g, both = maps = [explain(network, x, target) for target in range(3)]
    gaps = (both.double() - first * f.double() - second * g.double()).flatten()
    place = int(gaps.abs().argmax())
    numbers = [figure(one.flatten()[place]) for one in (both, f, g)]
    equation = (
        f"a(h) = {numbers[0]}, and α a(f) + β a(g) = {first:g} · {numbers[1]} + {second:g} · {numbers[2]}, "
        f"at number {place} of the map; f, g and h = αf + βg are the outputs"
    )
    allowed = Magnitudes.of(network, x).rounding(*maps) * (1 + abs(first) + abs(second))
    return Violation(float(gaps[place].abs()), allowed, equation, {"outputs": network}, {"x": x[0]}, 2)
