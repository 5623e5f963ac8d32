"""Is the map of an input the same whatever else is in the batch?"""

import torch
from torch import Tensor

from xattr_axioms.contract._calls import ROUNDING, distance, least_over_neighbours, repeat, tolerance, within
from xattr_check.core import Draw, Explainer, Measurement, Subject, Undefined, contract
from xattr_check.core.context import chosen

BATCH = 7


@contract(
    statement="The map of an input depends neither on the other inputs of its batch nor on its place there.",
    reads="of a map's norm, at most, between an input alone and in a batch",
    at_most=ROUNDING,
)
def batch_independent(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Maps of inputs alone, beside those in a full batch and in batches of at most 7 in reverse order.

    The maps of a stochastic method are means over seeds, and count as the same where they are as far apart
    as its own calls are.
    """
    if len(draw.inputs) < 2:
        raise Undefined(f"needs two inputs at least, subject {subject.name!r} has one")

    def maps_of(inputs: Tensor, batches: tuple[Tensor, ...]) -> Tensor:
        parts = []
        for rows in batches:
            with chosen(rows):
                parts.append(repeat(method, subject.model, inputs[rows], draw.targets[rows]))
        return torch.cat(parts, dim=1)[:, torch.cat(batches).argsort()]

    def apart(batches: tuple[Tensor, ...]) -> Tensor:
        return least_over_neighbours(
            lambda inputs: distance(maps_of(inputs, order.split(1)), maps_of(inputs, batches), rounding),
            draw,
            rounding,
        )

    rounding = tolerance(method, draw)
    order = torch.arange(len(draw.inputs), device=draw.inputs.device)
    found = {
        f"in a batch of {len(order)}": apart((order,)),
        f"in batches of at most {BATCH} in reverse order": apart(order.flip(0).split(BATCH)),
    }
    where = max(found, key=lambda name: float(found[name].max()))
    worst = int(found[where].argmax())
    share = float(found[where][worst])
    finding = (
        f"expected one map for an input, came two that differ by {100 * share:.3g} % of their norm for input "
        f"{int(draw.indices[worst])}: alone and {where}"
    )
    shares = within(torch.stack(list(found.values())).amax(0), rounding)
    return Measurement(shares, finding if share > rounding else "")
