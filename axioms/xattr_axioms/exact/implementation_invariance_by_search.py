"""Implementation invariance, by a search for a network on which it fails."""

from dataclasses import replace
from itertools import islice

from xattr_axioms.exact._search import compare, search_informed
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.rewrites import rewritten
from xattr_check.search.search import Explain, Violation

# How many other ways of computing a network are tried.
WAYS = 3


@axiom(
    statement="Small networks that compute the same function with other modules inside get the same maps.",
    family="exact",
    gate=AtMost(1),
    cites="sundararajan2017",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="implementation_invariance",
    inputs=1,
)
def implementation_invariance_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The largest |a(f, x) − a(g, x)| over what rounding allows, for each network f and g that computes f.

    A BatchNorm is unfolded, a layer replaced by two, a unit split, the order of units changed, ReLUs
    rescaled: see `REWRITES`. A pass tells nothing of a method that gives the same map whatever the network.
    """
    return search_informed(violation, method, draw, "implementation_invariance_by_search")


def violation(case: Case, explain: Explain) -> Violation:
    """How far the maps of two networks that compute the same are apart: of some ways, where it is most."""
    x = case.inputs[0]
    found = []
    for other, how in islice(rewritten(case), WAYS):
        one = compare(case, explain, {"f": case.network, "g": other}, {"x": x})
        found.append(replace(one, equation=f"{one.equation}; g is f with {how}"))
    return max(found, key=lambda one: one.ratio)
