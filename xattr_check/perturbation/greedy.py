"""The best that any order of features could do, nearly: one step after the other, with the model asked."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from xattr_check.core.run import Draw
from xattr_check.core.subject import Subject
from xattr_check.core.units import By, Units
from xattr_check.perturbation.fills import Fill, absent
from xattr_check.perturbation.outputs import outputs_under

Done = Literal["removed", "shown"]
Seeks = Literal["least", "largest"]
# With more units than these it is no cheap answer.
MOST = 64


def greedy_curve(
    subject: Subject,
    draw: Draw,
    places: Sequence[float],
    done: Done,
    seeks: Seeks,
    *,
    fill: Fill,
    by: By,
) -> Tensor | None:
    """(n, K) the target's probability at K shares of the units that are removed or shown.

    seeks: the least or the largest probability. At each of the places the units are taken that bring it about
        best, given those that were taken before.

    None where there are too many units to ask the model about each. It is the same for all methods.
    """
    units = Units.of(subject, by)
    if units.count > MOST:
        return None

    def compute() -> dict[str, Tensor]:
        return {"curve": _curve(subject, draw, units, places, done, seeks, fill)}

    found = draw.shared("greedy", compute, fill=fill, by=by, done=done, seeks=seeks, places=list(places))
    return found["curve"]


def _curve(
    subject: Subject,
    draw: Draw,
    units: Units,
    places: Sequence[float],
    done: Done,
    seeks: Seeks,
    fill: Fill,
) -> Tensor:
    """(n, K): the target's probability at each of the places."""
    other, count = absent(fill, subject, draw), units.count
    taken = torch.zeros(len(draw.inputs), count, dtype=torch.bool, device=draw.inputs.device)
    candidates = torch.eye(count, dtype=torch.bool, device=draw.inputs.device)
    sign = 1 if seeks == "largest" else -1

    def outputs(more: Tensor) -> Tensor:
        """(n, M): the probability where units (M, count) are taken besides."""

        def mask_of(rows: Tensor, columns: Tensor) -> Tensor:
            both = taken[rows] | more[columns]
            return units.spread(both if done == "shown" else ~both)

        return outputs_under(
            subject.model, draw.inputs, draw.targets, other, mask_of, len(more), output="probability",
            memory=draw.run.memory, layout=subject.layout, explained=subject.output,
        )  # fmt: skip

    valid = units.valid(draw)
    counts = (
        torch.full_like(taken[:, 0], count, dtype=torch.float64) if valid is None else valid.sum(1).double()
    )
    never = torch.zeros_like(taken) if valid is None else ~valid
    curve = []
    for place in places:
        # Of each input as large a share of its own units.
        missing = (place * counts).round().long() - taken.sum(1)
        if bool((missing > 0).any()):
            gains = (sign * outputs(candidates)).masked_fill(taken | never, -torch.inf)
            order = gains.topk(int(missing.max()), dim=1).indices
            first = torch.arange(order.shape[1], device=order.device) < missing[:, None]
            taken = taken | torch.zeros_like(taken).scatter(1, order, first)
        curve.append(outputs(torch.zeros_like(candidates[:1])))
    return torch.cat(curve, dim=1)
