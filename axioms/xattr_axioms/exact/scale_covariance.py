"""Scale covariance."""

from xattr_axioms.contract._calls import repeat
from xattr_axioms.exact._copies import INPUTS, MORE, SHARE, explain_copy, multiple, tell_apart
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom

# A power of two, which rounds nothing; what is normalised is off by three quarters.
FACTOR = 4.0


@axiom(
    statement="A model whose outputs are multiplied by a positive number has maps that are multiplied by it.",
    family="exact",
    gate=AtMost(SHARE),
    cites="sundararajan2017",
    reads="of inputs get a map of a multiple of the model that is not the multiple of the map",
    bounds=(0, 1),
    claimed=True,
    negative=("random", "input_magnitude", "constant"),
    rows="shares",
    inputs=INPUTS,
    then=MORE,
)
def scale_covariance(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where a(cf, x) and c a(f, x) are apart, else 0, with c = 4, for each input.

    Linearity of [sundararajan2017] in one function, and less than it: what rectifies gradients or maps keeps
    a positive factor and no sum.
    """
    maps = explain_copy(method, multiple(draw, FACTOR), draw.inputs, draw.targets, draw)
    own = repeat(method, subject.model, draw.inputs, draw.targets)
    return tell_apart(method, maps / FACTOR, own, draw)
