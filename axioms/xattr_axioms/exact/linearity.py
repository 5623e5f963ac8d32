"""Linearity."""

from torch import Tensor

from xattr_axioms.contract._calls import repeat
from xattr_axioms.exact._copies import INPUTS, MORE, SHARE, explain_copy, make_copy, tell_apart
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.networks.rewrite import Plain


@axiom(
    statement="The attribution of a difference of two functions is the difference of their attributions.",
    family="exact",
    # The tolerance is of rounding. On the digits the maps of what holds it are 4e-7 apart, of guided
    # backpropagation 0.5, of gradcam 0.2 and more for every input.
    gate=AtMost(SHARE),
    cites="sundararajan2017",
    reads="of inputs get a map of a difference that is not the difference of the maps",
    bounds=(0, 1),
    claimed=True,
    negative=("random", "input_magnitude", "constant"),
    rows="shares",
    inputs=INPUTS,
    then=MORE,
)
def linearity(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where a(f − h, x) and a(f, x) − a(h, x) are apart, else 0, for each input.

    f is the target's output, h the next one. What does not look at the function it explains gives the same
    map to all three, and is off by all of it.
    """
    if subject.examination.outputs < 2:
        raise Undefined(f"the model of {subject.name!r} has one output, and so no difference of two")

    def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
        logits = plain(inputs)
        return logits - logits.roll(-1, 1)

    copy = make_copy(draw, "difference", lambda: (compute, None))
    whole = explain_copy(method, copy, draw.inputs, draw.targets, draw)
    one, other = (
        repeat(method, subject.model, draw.inputs, targets)
        for targets in (draw.targets, (draw.targets + 1) % subject.examination.outputs)
    )
    return tell_apart(method, whole, one - other, draw)
