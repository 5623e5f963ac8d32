"""Dead neurons, by a search for a network on which they change a map."""

from xattr_axioms.exact._search import compare, search_informed
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.rewrites import with_dead_unit
from xattr_check.search.search import Explain, Violation


@axiom(
    statement="On small networks, neurons that no input activates change no map, whatever their weights.",
    family="exact",
    gate=AtMost(1),
    cites="khakzar2021",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="dead_neurons",
    inputs=1,
)
def dead_neurons_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The largest |a(f, x) − a(g, x)| over what rounding allows, for each network f and g, f with one more.

    The dead neuron is beside any one of f's layers: see `with_dead_unit`. A pass tells nothing of a method
    that gives the same map whatever the network.
    """
    return search_informed(violation, method, draw, "dead_neurons_by_search")


def violation(case: Case, explain: Explain) -> Violation:
    """How far the maps of a network are apart without a dead neuron and with it."""
    networks = {"f": case.network, "g": with_dead_unit(case)}
    return compare(case, explain, networks, {"x": case.inputs[0]})
