"""Agreement with attributions that follow from a formula."""

import torch
from torch import Tensor

from xattr_axioms.exact._copies import INPUTS, MORE, SHARE
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom

# What they are called, in the order in which they are compared.
FORMS = ("gradient", "input × gradient", "integrated gradients")
# Of a map, by its square, that no form explains. What computes a form leaves rounding, and smoothgrad, which
# averages it, 0.002; half of the path leaves 0.02, guided backpropagation 0.1, another target 0.9.
TOLERANCE = 0.01


@axiom(
    statement="On a network with attributions in closed form, the map is one of them.",
    family="exact",
    gate=AtMost(SHARE),
    cites="sundararajan2017",
    reads="of inputs have maps that are none of the gradient, its product with the input and its integral",
    claimed=True,
    bounds=(0, 1),
    rows="shares",
    needs=("gradient", "integrated_gradients"),
    negative=("random", "input_magnitude", "constant"),
    cost="standard",
    inputs=INPUTS,
    then=MORE,
)
def analytic_truth(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where 1 − cos² of a map and the closed form that it is nearest to is more than 1 %, for each input.

    And where the cosine is below zero. Forms are the subject's truth: the gradient, its product with the
    input, which is also what leaving a feature out changes where none is multiplied by itself, and integrated
    gradients from zero, which are the Shapley values where only pairs are multiplied. It has to be one form
    for all inputs, up to a positive factor for each. The evidence has what each leaves. Required only of what
    claims it: variances and masks are right, and none of them.
    """
    slopes = draw.truth("gradient")
    truths = slopes, draw.inputs * slopes, draw.truth("integrated_gradients")
    maps = method.signed(subject.model, draw.inputs, draw.targets)
    rests = torch.stack([_rest(maps, subject.layout.scores(one)) for one in truths], dim=1)
    nearest = int(rests.mean(0).argmin())
    left = rests[:, nearest]
    finding = (
        f"the nearest is the {FORMS[nearest]}, which leaves {float(left.mean()):.2g} of a map on average"
    )
    return Measurement((left > TOLERANCE).double(), finding, evidence={"unexplained": rests})


def _rest(maps: Tensor, truth: Tensor) -> Tensor:
    """(n,) the share of the squares of maps (n, P) that no positive factor of the truth explains."""
    along = (maps * truth).sum(1).clamp_min(0) ** 2
    return 1 - along / ((maps**2).sum(1) * (truth**2).sum(1)).clamp_min(1e-300)
