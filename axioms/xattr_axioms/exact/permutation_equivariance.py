"""Permutation equivariance."""

import torch
from torch import Tensor

from xattr_axioms.contract._calls import repeat
from xattr_axioms.exact._copies import (
    INPUTS,
    MORE,
    SHARE,
    explain_copy,
    make_copy,
    stream,
    tell_apart,
    verify,
)
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.networks.rewrite import Plain


@axiom(
    statement="Columns or channels in another order, for a model that puts them back, have their own maps.",
    family="exact",
    gate=AtMost(SHARE),
    cites="crabbe2023",
    reads="of inputs get another map when columns or channels are in another order",
    bounds=(0, 1),
    claimed=True,
    negative=("random",),
    rows="shares",
    inputs=INPUTS,
    then=MORE,
)
def permutation_equivariance(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where a(f, x) and π⁻¹a(g, πx) are apart, else 0, with g(x) = f(π⁻¹x), for each input.

    π is a random cycle of all columns of a table, or of all channels of images, signals and volumes, or of
    all numbers of an embedding: what no method may know the order of. After the equivariance of
    [crabbe2023], of which any model has this one once its inputs are put back.
    """
    if subject.tokens:
        raise Undefined("the numbers of a token are those that its id stands for, and so are its baseline's")
    axis = -1 if subject.layout.channels is None else subject.layout.channels
    if (count := subject.inputs.shape[axis]) < 2:
        raise Undefined(f"an input of {subject.name!r} has one column or channel, which has no other order")
    if "baseline" in method.method.bound:
        raise Undefined("the method is given the data's mean for its baseline, and only inputs are permuted")
    order = torch.randperm(count, generator=stream(draw, "permutation"))
    cycle = torch.empty_like(order)
    cycle[order] = order.roll(-1)
    back = cycle.argsort()

    def rearranged(values: Tensor, places: Tensor) -> Tensor:
        # A map may have one number for all channels of a feature.
        return values if values.shape[axis] == 1 else values.index_select(axis, places.to(values.device))

    def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
        return plain(rearranged(inputs, back))

    copy = make_copy(draw, f"permuted {cycle.tolist()}", lambda: (compute, None))
    inputs = rearranged(draw.inputs, cycle)
    verify(copy, inputs, draw, draw.inputs)
    maps = repeat(method, subject.model, draw.inputs, draw.targets)
    others = rearranged(explain_copy(method, copy, inputs, draw.targets, draw), back)
    return tell_apart(method, maps, others, draw)
