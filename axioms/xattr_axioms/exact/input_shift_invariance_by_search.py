"""Input shift invariance, by a search for a network on which it fails."""

import torch
from torch import nn

from xattr_axioms.exact._search import compare, search
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.modules import Shifted
from xattr_check.search.search import Explain, Violation

# Powers of two, so that adding one and taking it off rounds least.
SHIFTS = (1.0, -2.0)


@axiom(
    statement="On small networks, inputs shifted by a constant that the network takes off get the same maps.",
    family="exact",
    gate=AtMost(1),
    cites="kindermans2019",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="input_shift_invariance",
    negative=("random", "input_magnitude"),
    inputs=1,
)
def input_shift_invariance_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The largest |a(f, x) − a(g, x + s)| over what rounding allows, for each f and g(x) = f(x − s)."""
    return search(violation, method, draw, "input_shift_invariance_by_search")


def violation(case: Case, explain: Explain) -> Violation:
    """How far the maps of an input and of the shifted one are apart."""
    shift = torch.tensor(SHIFTS[case.number % len(SHIFTS)], dtype=torch.float64)
    x = case.inputs[:1]
    networks = {"f": case.network, "g": nn.Sequential(Shifted(shift), *case.network)}
    return compare(case, explain, networks, {"x": x[0], "shifted": x[0] + shift})
