"""Permutation equivariance."""

import torch
from torch import Tensor

from xattr_axioms.contract._calls import STEPS, distance, repeat, steps, tolerance
from xattr_axioms.exact._copies import (
    INPUTS,
    MORE,
    SHARE,
    TOLERANCE,
    explain_copy,
    make_copy,
    stream,
    tell_apart,
    verify,
)
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.context import chosen
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

    π is, for one input after the other, a random cycle of all columns of a table, or of all channels of
    images, signals and volumes, or of all numbers of an embedding, or it exchanges two of them: what no
    method may know the order of, and of these two all orders are made. After the equivariance of
    [crabbe2023], of which any model has this one once its inputs are put back.
    """
    axis = -1 if subject.layout.channels is None else subject.layout.channels
    if subject.tokens:
        raise Undefined("the numbers of a token are those that its id stands for, and so are its baseline's")
    if (count := subject.inputs.shape[axis]) < 2:
        raise Undefined(f"an input of {subject.name!r} has one column or channel, which has no other order")
    if "baseline" in method.method.bound:
        raise Undefined("the method is given the data's mean for its baseline, and only inputs are permuted")
    for name, value in method.method.fixed.items():
        if _in_order(value, draw.inputs, axis):
            raise Undefined(f"the method's {name!r} is in the order of columns or channels as they are")
    order = torch.randperm(count, generator=stream(draw, "permutation"))
    cycle, exchange = torch.empty_like(order), torch.arange(count)
    cycle[order], exchange[order[:2]] = order.roll(-1), order[:2].flip(0)
    maps = repeat(method, subject.model, draw.inputs, draw.targets)
    others, rounding = torch.empty_like(maps), tolerance(method, draw, TOLERANCE, times=STEPS)
    for first, places in enumerate((cycle, exchange)):
        rows = slice(first, None, 2)
        if len(draw.inputs[rows]):
            with chosen(rows):
                others[:, rows] = _put_back(method, draw, rows, places, axis, maps[:, rows], rounding)
    return tell_apart(method, maps, others, draw)


def _put_back(
    method: Explainer, draw: Draw, rows: slice, places: Tensor, axis: int, maps: Tensor, rounding: float
) -> Tensor:
    """(R, m, …): maps of some rows of a draw, permuted on a model that puts them back, and put back.

    maps: (R, m, …) of the same rows as they are. rounding: the share of a map's norm by which two that are
    one may differ. Raises Undefined where those of the permuted rows are the same without being put back: the
    method explains what the model's first layer is given.
    """
    back = places.argsort()

    def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
        return plain(_permuted(inputs, back, axis))

    copy = make_copy(draw, f"permuted {places.tolist()}", lambda: (compute, None))
    own = draw.inputs[rows]
    inputs = _permuted(own, places, axis)
    verify(copy, inputs, draw, own)
    found = explain_copy(method, copy, inputs, draw.targets[rows], draw)
    others = _permuted(found, back, axis)
    as_they_are, put_back = (distance(maps, one, steps(draw)) > rounding for one in (found, others))
    if copy.parts and bool(put_back.any()) and not bool(as_they_are.any()):
        raise Undefined("the method explains what the model's first layer is given, and not its inputs")
    return others


def _permuted(values: Tensor, places: Tensor, axis: int) -> Tensor:
    """Inputs or maps with their columns or channels at other places; a map may have one for all channels."""
    return values if values.shape[axis] == 1 else values.index_select(axis, places.to(values.device))


def _in_order(value: object, inputs: Tensor, axis: int) -> bool:
    """Whether a parameter is of numbers, as many as columns or channels, that differ among these."""
    try:
        tensor = torch.as_tensor(value)
        whole = torch.broadcast_to(tensor, inputs.shape)
    except (TypeError, ValueError, RuntimeError):
        return False
    return bool((whole != whole.narrow(axis, 0, 1)).any())
