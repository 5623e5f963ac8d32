"""Input shift invariance."""

import math

from torch import Tensor

from xattr_axioms._calls import distance
from xattr_axioms._copies import INPUTS, copied, explained, flat, maps_of, verify
from xattr_check.axiom import Measurement, axiom
from xattr_check.explainer import Explainer
from xattr_check.gate import AtMost
from xattr_check.rewrite import Plain
from xattr_check.run import Draw
from xattr_check.subject import Subject


@axiom(
    statement="Inputs shifted by a constant, for a model that takes the shift off again, get the same maps.",
    family="exact",
    # Rounding comes to 2e-4 of a map's norm on the digits, where it takes a unit across its kink for one
    # input in eight; a zero baseline to 0.1 (occlusion) to 0.9, fullgrad to 0.02.
    gate=AtMost(0.01),
    cites="kindermans2019",
    reads="of a map's norm between inputs and shifted inputs of a model that takes the shift off",
    bounds=(0, 2),
    claimed=True,
    negative=("random", "input_magnitude"),
    inputs=INPUTS,
)
def input_shift_invariance(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """‖a(f, x) − a(g, x + s)‖ over the larger norm, with g(x) = f(x − s), for each input.

    s is the same for all features: the power of two nearest to the deviation of the inputs, so that adding
    it and taking it off rounds least.
    """
    deviation = float(subject.inputs.std()) or 1.0
    shift = 2.0 ** round(math.log2(deviation))

    def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
        return plain(inputs - shift)

    copy = copied(draw, f"shift {shift}", lambda: (compute, None))
    verify(copy, draw.inputs + shift, draw)
    shifted = explained(method, copy, draw.inputs + shift, draw.targets, draw)
    maps = maps_of(method, subject.model, draw.inputs, draw.targets)
    return Measurement(distance(flat(maps), flat(shifted)))
