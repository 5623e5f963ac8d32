"""Scale invariance."""

from torch import Tensor

from xattr_axioms.exact._copies import INPUTS, MORE, SHARE, compare_copy, make_copy
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.networks.rewrite import Plain

# A power of two, which rounds nothing.
FACTOR = 4.0


@axiom(
    statement="Inputs in other units, for a model that converts them back, get the same maps.",
    family="exact",
    gate=AtMost(SHARE),
    cites="sundararajan2020",
    reads="of inputs get another map when they are given in other units to a model that converts them back",
    bounds=(0, 1),
    claimed=True,
    negative=("random", "input_magnitude"),
    rows="shares",
    cost="standard",
    inputs=INPUTS,
    then=MORE,
)
def scale_invariance(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where a(f, x) and a(g, sx) are apart, else 0, with g(x) = f(x / s) and s = 4, for each input.

    Affine scale invariance of [sundararajan2020] without a shift: a baseline of zero is zero in all units. A
    gradient is in outputs for each unit of the input, and so divided by s.
    """

    def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
        return plain(inputs / FACTOR)

    copy = make_copy(draw, f"units {FACTOR}", lambda: (compute, None))
    return compare_copy(method, copy, draw.inputs * FACTOR, draw, draw.inputs)
