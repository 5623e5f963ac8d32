"""Input shift invariance."""

import torch
from torch import Tensor

from xattr_axioms.exact._copies import INPUTS, MORE, SHARE, compare_copy, make_copy
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.precision import coarseness
from xattr_check.networks.rewrite import Plain


@axiom(
    statement="Inputs shifted by a constant, for a model that takes the shift off again, get the same maps.",
    family="exact",
    # On the digits the maps of what holds it are up to 2e-4 apart on average; of what has a zero baseline 0.1
    # (occlusion) to 0.9, and of fullgrad 0.02, each for every input.
    gate=AtMost(SHARE),
    cites="kindermans2019",
    reads="of inputs get another map when they are shifted for a model that takes the shift off",
    bounds=(0, 1),
    claimed=True,
    negative=("random", "input_magnitude"),
    rows="shares",
    inputs=INPUTS,
    then=MORE,
)
def input_shift_invariance(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where a(f, x) and a(g, x + s) are apart, else 0, with g(x) = f(x − s), for each input.

    s is the power of two nearest to the deviation of each column, or of a channel of images, so that adding
    it and taking it off rounds least.
    """
    if "baseline" in method.method.bound:
        raise Undefined("the method is given the data's mean for its baseline, and only inputs are shifted")
    deviation = subject.layout.deviation(subject.inputs)
    shift = torch.where(deviation > 0, deviation.log2().round().exp2(), 1.0).to(deviation)

    def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
        return plain(inputs - shift)

    copy = make_copy(draw, f"shift {shift.flatten().tolist()}", lambda: (compute, None))
    shifted = draw.inputs + shift
    # Adding rounds: in a coarse precision the model is given what the copy sees.
    own = shifted - shift if coarseness(subject.model, draw.inputs) else draw.inputs
    return compare_copy(method, copy, shifted, draw, own)
