"""Implementation invariance, by a search for a network on which it fails."""

from dataclasses import replace
from itertools import islice

from torch import Tensor, nn

from xattr_axioms.exact._search import compare, search_informed
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.magnitudes import Magnitudes
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
    rescaled: see `REWRITES`; the softmax of attention is computed in single steps. A pass tells nothing of a
    method that gives the same map whatever the network.
    """
    return search_informed(violation, method, draw, "implementation_invariance_by_search")


def violation(case: Case, explain: Explain) -> Violation:
    """How far the maps of two networks that compute the same are apart.

    Of some ways the first that breaks the statement, or that where it is most.
    """
    x = case.inputs[0]
    sizes, known = Magnitudes.of(case.network, x[None]), explain(case.network, x[None])

    def explain_other(network: nn.Module, inputs: Tensor) -> Tensor:
        return known if network is case.network else explain(network, inputs)

    found: list[Violation] = []
    for other, how in islice(rewritten(case), WAYS):
        one = compare(case, explain_other, {"f": case.network, "g": other}, {"x": x}, sizes)
        found.append(replace(one, equation=f"{one.equation}; g is f with {how}"))
        if one.ratio > 1:
            break
    return max(found, key=lambda one: one.ratio)
