"""Dummy, by a search for a network on which it fails."""

from torch import nn

from xattr_axioms.exact._search import features, figure, search
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.magnitudes import Magnitudes
from xattr_check.search.modules import Seen
from xattr_check.search.search import Explain, Violation


@axiom(
    statement="On small networks, a feature that the output does not depend on gets no attribution.",
    family="exact",
    gate=AtMost(1),
    cites="sundararajan2017",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="dummy",
    negative=("random", "input_magnitude", "constant"),
    inputs=1,
)
def dummy_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The largest |a| on one feature over what rounding allows, for each network that is given 0 for it."""
    return search(violation, method, draw, "dummy_by_search")


def violation(case: Case, explain: Explain) -> Violation:
    """How much attribution a feature has that a network does not see."""
    x = case.inputs[:1]
    places = features(case)
    hidden = places == case.number % (int(places.max()) + 1)
    network = nn.Sequential(Seen(~hidden), *case.network)
    maps = explain(network, x)
    on_it = (maps[0].abs() * hidden).sum()
    equation = f"of Σ|a| = {figure(maps.abs().sum())}, {figure(on_it)} is on a feature that f does not see"
    allowed = Magnitudes.of(case.network, x).rounding(maps)
    return Violation(float(on_it), allowed, equation, {"f": network}, {"x": x[0]})
