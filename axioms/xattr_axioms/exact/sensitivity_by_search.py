"""Sensitivity, by a search for a network on which it fails."""

import torch
from torch import nn

from xattr_axioms.exact._search import POINTS, features, figure, search
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.magnitudes import Magnitudes
from xattr_check.search.modules import Seen
from xattr_check.search.search import Explain, Violation

# Share of the change in output below which an attribution counts as zero.
ZERO = 1e-6


@axiom(
    statement="On small networks, the one feature in which inputs of other outputs differ has attribution.",
    family="exact",
    gate=AtMost(1),
    cites="sundararajan2017",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="sensitivity",
    inputs=1,
)
def sensitivity_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """|f(x) − f(y)| over what rounding allows where neither x nor y has attribution on the feature, else 0.

    For each network that sees one feature alone, every other one with its outputs clipped. Whatever the
    baseline is, x or y differs from it in output. A network says nothing where the output changes on less
    than two of 50 points of a path that is as long as inputs are large: a quadrature may miss it.
    """
    return search(violation, method, draw, "sensitivity_by_search")


def violation(case: Case, explain: Explain) -> Violation | None:
    """By how much the output changes with a feature that has no attribution."""
    places = features(case)
    seen = places == case.number // 2 % (int(places.max()) + 1)
    # Where it is flat the axiom is hardest to keep.
    clip = [nn.Hardtanh()] if case.number % 2 == 0 else []
    network = nn.Sequential(Seen(seen), *case.network, *clip)
    x = case.inputs[:1]
    y = torch.where(seen, -x, x)
    sizes = Magnitudes.of(case.network, torch.where(seen, x, 0.0))
    change = float(network(x)[0, 0] - network(y)[0, 0])
    # At half of the change from x or from y, on two points.
    if abs(change) < 2 * 2 / POINTS * float((sizes.reaches * seen).sum()) or not change:
        return None
    maps = explain(network, x), explain(network, y)
    on_it = [float((one[0].abs() * seen).sum()) for one in maps]
    gap = abs(change) if max(on_it) <= ZERO * abs(change) else 0.0
    equation = (
        f"f(x) − f(y) = {figure(change)}, where x and y differ in one feature that has attribution 0 in both"
    )
    return Violation(gap, sizes.rounding(*maps), equation, {"f": network}, {"x": x[0], "y": y[0]})
