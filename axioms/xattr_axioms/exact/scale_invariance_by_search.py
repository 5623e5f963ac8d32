"""Scale invariance, by a search for a network on which it fails."""

import copy
from typing import Any

import torch

from xattr_axioms.exact._search import compare, search
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case, computed, is_affine
from xattr_check.search.search import Explain, Violation

# Powers of two, which round nothing.
FACTORS = (4.0, 0.5, 2.0)


@axiom(
    statement="On small networks, inputs in other units and first weights to match get the same maps.",
    family="exact",
    gate=AtMost(1),
    cites="sundararajan2020",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="scale_invariance",
    negative=("random", "input_magnitude"),
    inputs=1,
)
def scale_invariance_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """The largest |a(f, x) − a(g, sx)| over what rounding allows, for each f and g(x) = f(x / s).

    g is f with the weights of its first layer divided by s: the same numbers go through all the others. Each
    column or channel has an s of its own. A network whose first layer is used once more, or stands beside a
    shortcut, says nothing.
    """
    return search(violation, method, draw, "scale_invariance_by_search")


def violation(case: Case, explain: Explain) -> Violation | None:
    """How far the maps of an input and of the same one in other units are apart."""
    other = copy.deepcopy(case.network)
    first: Any = next(iter(other), None)
    if not is_affine(first) or sum(one is first for one in computed(other)) > 1:
        return None
    x = case.inputs[0]
    scale = torch.tensor([FACTORS[(case.number + one) % len(FACTORS)] for one in range(len(x))]).double()
    scale = scale.reshape(-1, *[1] * case.axes)
    first.weight /= scale
    return compare(case, explain, {"f": case.network, "g": other}, {"x": x, "scaled": x * scale})
