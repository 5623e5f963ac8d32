"""Inputs beside those of a draw, and how far maps, outputs and representations are from theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.core import Draw, Explainer, Undefined
from xattr_check.networks.randomize import every_layer

# Neighbours of each input. The largest of so many is asked for, so that a figure belongs to their number.
NEIGHBOURS = 8


@dataclass(frozen=True)
class Neighbour:
    """What is beside the inputs of a draw.

    inputs: (n, *F). same: (n,) bool, whether the model names the same output there; of one output, always.
    """

    inputs: Tensor
    same: Tensor


def neighbours(draw: Draw, radius: float) -> Iterator[Neighbour]:
    """Inputs of which each number moved by at most a share of its deviation over the subject's inputs.

    Evenly distributed, as in [yeh2019]; padding stays as it is. Raises Undefined for what is no number.
    """
    subject, inputs = draw.subject, draw.inputs
    if not inputs.is_floating_point():
        raise Undefined(f"the inputs of {subject.name!r} are no numbers that could be moved a little")
    spread = radius * subject.layout.deviation(subject.inputs)
    before = _named(subject.model, inputs)
    for number in range(NEIGHBOURS):
        noise = 2 * torch.rand(inputs.shape, generator=draw.generator("neighbour", number)) - 1
        if draw.valid is not None:
            noise = noise * subject.layout.maps(draw.valid.cpu())
        beside = inputs + noise.to(inputs) * spread
        yield Neighbour(beside, _named(subject.model, beside) == before)


@torch.no_grad()
def _named(model: nn.Module, inputs: Tensor) -> Tensor:
    """(n,) the output that a model names."""
    found: Tensor = model(inputs).argmax(1)
    return found


def map_changes(method: Explainer, draw: Draw, found: Sequence[Neighbour]) -> Tensor:
    """(n, K) how far maps with their signs are from those beside them, as shares of their norm."""

    def maps(inputs: Tensor) -> Tensor:
        signed = method.signed(draw.subject.model, inputs, draw.targets)
        return signed if draw.valid is None else signed * draw.valid

    before = maps(draw.inputs)
    return torch.stack([change(before, maps(one.inputs)) for one in found], dim=1)


def change(before: Tensor, after: Tensor) -> Tensor:
    """(n,) float64: the norm of what differs between rows (n, …), over that of what was there; 0 for 0/0."""
    before, after = before.double().flatten(1), after.double().flatten(1)
    gap, norm = (after - before).norm(dim=1), before.norm(dim=1)
    return torch.where(gap == 0, 0.0, gap / norm.clamp_min(1e-300))


def representations(draw: Draw, found: Sequence[Neighbour]) -> Tensor:
    """(n, K): as `map_changes`, of what the last layer is given.

    Raises Undefined where its weights belong to no module that is called with it.
    """
    model = draw.subject.model
    name = every_layer(model, draw.inputs)[0].name
    module = dict(model.named_modules()).get(name)
    if not name or module is None:
        raise Undefined(f"what the last layer of {draw.subject.name!r} is given cannot be seen")

    @torch.no_grad()
    def hidden(inputs: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = module.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
        try:
            model(inputs)
        finally:
            handle.remove()
        return seen[-1]

    before = hidden(draw.inputs)
    return torch.stack([change(before, hidden(one.inputs)) for one in found], dim=1)
