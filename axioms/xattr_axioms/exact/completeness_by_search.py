"""Completeness, by a search for a network on which it fails."""

import torch
from torch import Tensor

from xattr_axioms.exact._search import POINTS, figure, search, total
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.search.cases import Case
from xattr_check.search.magnitudes import Magnitudes
from xattr_check.search.modules import Attention
from xattr_check.search.search import Explain, Violation


@axiom(
    statement="On small networks, attributions sum to the change in output from the method's baseline.",
    family="exact",
    gate=AtMost(1),
    cites="sundararajan2017",
    reads="times what rounding allows",
    statistic="max",
    claimed=True,
    cost="standard",
    claim="completeness",
    negative=("random", "constant"),
    inputs=1,
)
def completeness_by_search(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """|Σa(x) − Σa(y) − f(x) + f(y)| over what is allowed, for each network f with inputs x and y.

    The output at the baseline cancels, as in `completeness`. Allowed is what rounding makes of numbers as
    large as these, and a quadrature of 50 points on the network: slopes along a path change by no more than
    the products of all its weights, for each hidden layer. Where there is attention, they change by what they
    do on the path from zero, if the method's map of zeros is zero, or by twice as much as from any of some
    baselines.
    """
    return search(violation, method, draw, "completeness_by_search")


def violation(case: Case, explain: Explain) -> Violation:
    """How far a network's attributions are from their sum."""
    x, y = case.inputs.split(1)
    maps = explain(case.network, x), explain(case.network, y)
    outputs = [float(one) for one in case.network(case.inputs)[:, 0]]
    attributed, real = total(maps[0]) - total(maps[1]), outputs[0] - outputs[1]
    sizes = Magnitudes.of(case.network, case.inputs, _start(case, explain))
    # Each kink on a path costs half a step of the jump in the slope there.
    quadrature = sizes.bends / POINTS
    equation = f"Σa(x) − Σa(y) = {figure(attributed)}, and f(x) − f(y) = {figure(real)}"
    return Violation(
        abs(attributed - real), sizes.rounding(*maps) + quadrature, equation,
        {"f": case.network}, {"x": x[0], "y": y[0]},
    )  # fmt: skip


def _start(case: Case, explain: Explain) -> Tensor | None:
    """(1, *F) zeros where their map is zero and there is attention, since that is then the baseline."""
    if not any(isinstance(one, Attention) for one in case.network.modules()):
        return None
    zeros = torch.zeros_like(case.inputs[:1])
    return None if bool(explain(case.network, zeros).any()) else zeros
