"""Symmetry, by a search for a network on which it fails."""

from torch import nn

from xattr_axioms.exact._search import figure, search
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.magnitudes import Magnitudes
from xattr_check.search.modules import Mirrored
from xattr_check.search.search import Explain, Violation


@axiom(
    statement="On small networks, features that may be exchanged get the same attribution where equal.",
    family="exact",
    gate=AtMost(1),
    cites="sundararajan2017",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="symmetry",
    negative=("random",),
    inputs=1,
)
def symmetry_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The largest |aᵢ − aⱼ| over what rounding allows, for each network that is given mirrored inputs.

    Features i and j are each other's mirror image, in which the input and the network are the same.
    """
    return search(violation, method, draw, "symmetry_by_search")


def violation(case: Case, explain: Explain) -> Violation:
    """How far the attributions of two features are apart that nothing tells from each other."""
    network = nn.Sequential(Mirrored(), *case.network)
    x = Mirrored()(case.inputs[:1])
    maps = explain(network, x)
    gaps = (maps - maps.flip(-1)).double().flatten()
    place = int(gaps.abs().argmax())
    one, other = (figure(values.flatten()[place]) for values in (maps, maps.flip(-1)))
    equation = f"a = {one} and a = {other}, at number {place} of the map and its mirror image"
    allowed = Magnitudes.of(case.network, x).rounding(maps)
    return Violation(float(gaps[place].abs()), allowed, equation, {"f": network}, {"x": x[0]})
