"""Calls of a method on the batch of a draw, watched from outside and shared by the checks of the contract."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core import Draw, Explainer, Measurement, violation
from xattr_check.core.precision import coarseness
from xattr_check.core.process import ProcessState
from xattr_check.core.snapshot import Snapshot
from xattr_check.core.state import by_kind, generator_states
from xattr_check.errors import MethodError
from xattr_check.storage.digest import digest

# Share of a map's norm. Two float32 maps of one input, alone and in a batch, differ by 4e-7 of their norm
# on a small convolutional network, but for one in a thousand, where rounding takes a unit across its kink.
ROUNDING = 1e-3
# Steps of rounding, where they are coarser than those of float32, by which two maps of one input may differ:
# sums are rounded a few times. Never more than MOST, so that what is broken is seen in any precision.
STEPS, MOST = 4, 0.25
# Maps of two conditions, four seeds each: the ratio of the variances between and within has its 99.9 %
# quantile at 4.1 for one degree of freedom in each of eight maps, and lower for more.
NOISE = 5.0
SEEDS = 4


@dataclass(frozen=True)
class Call:
    """What one call of a method returned and left behind.

    maps: whatever came back.
    inputs, targets: what was given, as it was afterwards.
    changes: what differs in the model, as `ModelState.differences`, but for what it changes itself.
    settings: what differs in the process, in words, by its name.
    imported: whether a module was imported, which may have changed settings for good reasons, once.
    before, after: the global generators.
    """

    maps: Any
    inputs: Tensor
    targets: Tensor
    changes: dict[str, list[str]]
    settings: dict[str, str]
    imported: bool
    before: tuple[Any, ...]
    after: tuple[Any, ...]


def watch(method: Explainer, draw: Draw, seed: int = 0) -> Call:
    """A call on the draw's batch, made once in a run. Raises MethodError where the method raises."""

    def compute() -> Call | MethodError:
        try:
            return _watch(method, draw, seed)
        except MethodError as error:
            return error

    key = digest("watched", id(method), draw.subject.fingerprint, draw.indices, seed)
    found: Call | MethodError = draw.run.once(key, compute)
    if isinstance(found, MethodError):
        raise found
    return found


def _watch(method: Explainer, draw: Draw, seed: int) -> Call:
    states: list[tuple[Any, ...]] = []
    settings: dict[str, str] = {}

    def recorded(*arguments: Any) -> Any:
        states.append(generator_states())
        process = ProcessState()
        maps = method.method(*arguments)
        states.append(generator_states())
        settings.update(process.changed())
        return maps

    model, modules = draw.subject.model, len(sys.modules)
    inputs, targets = draw.inputs.clone(), draw.targets.clone()
    before = Snapshot(model)
    try:
        maps = method.calling(recorded).unguarded(model, inputs, targets, before, seed)
        changes, imported = before.model.changes(), len(sys.modules) > modules
    finally:
        before.restore()
    if changes or settings:
        own = _own_changes(model, draw.inputs)
        changes = [change for change in changes if change.place not in own]
        settings = {name: text for name, text in settings.items() if name not in own}
    return Call(maps, inputs, targets, by_kind(changes), settings, imported, states[0], states[1])


def _own_changes(model: nn.Module, inputs: Tensor) -> set[str]:
    """What a model changes itself when it runs, such as a counter: no method is to blame for it."""
    before = Snapshot(model)
    try:
        # Where the model raises, the method has told of it.
        with suppress(Exception), torch.enable_grad():
            leaves = inputs.clone().requires_grad_()
            torch.autograd.grad(model(leaves).sum(), leaves, allow_unused=True)
        return {change.place for change in before.model.changes()} | before.process.changed().keys()
    finally:
        before.restore()


def repeat(method: Explainer, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """(R, N, …) float64 maps: one for each of SEEDS where the method is stochastic, else one."""
    seeds = range(SEEDS if method.method.stochastic else 1)
    return torch.stack([method(model, inputs, targets, seed).double() for seed in seeds])


def seeded(method: Explainer, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """(1, N, P) float64 maps, under generators that depend on the inputs alone.

    So a stochastic method draws the same for another model or another target, and what differs is not noise.
    """
    return method(model, inputs, targets).double().flatten(1)[None]


def tolerance(method: Explainer, draw: Draw, base: float = ROUNDING, times: int = 2) -> float:
    """Share of a map's norm that rounding may change in the precision of the subject's model.

    The base for float32 and finer. Else what a few steps of rounding are, or so many times what one step in
    the inputs changes in half of the maps, if that is more: a method that takes differences of outputs loses
    what they share.
    """
    model, step = draw.subject.model, coarseness(draw.subject.model, draw.inputs)
    if not step:
        return base
    changed = 0.0
    if draw.inputs.is_floating_point():
        signs = torch.randint(2, draw.inputs.shape, generator=draw.generator("rounding")).to(draw.inputs)
        beside = draw.inputs * (1 + step * (2 * signs - 1))
        one, other = (repeat(method, model, inputs, draw.targets) for inputs in (draw.inputs, beside))
        changed = float(distance(one, other, STEPS * step).median())
    return max(base, min(MOST, max(STEPS * step, times * changed)))


def steps(draw: Draw) -> float:
    """As `tolerance`, whatever the method: a few steps of rounding."""
    return max(ROUNDING, STEPS * coarseness(draw.subject.model, draw.inputs))


def within(shares: Tensor, tolerance: float, gate: float = ROUNDING) -> Tensor:
    """Shares (N,), where those that rounding explains come to the gate at most."""
    return torch.where(shares <= tolerance, shares.clamp_max(gate), shares)


def distance(one: Tensor, other: Tensor, floor: float = ROUNDING) -> Tensor:
    """(N,) how far maps (R, N, …) are apart, as a share of the larger norm.

    A share of `floor` of the batch's largest norm where both norms are smaller: what is left there is
    rounding. 0 for all where the maps of one condition differ as much from call to call as the two
    conditions differ.
    """
    one, other = one.flatten(2), other.flatten(2)
    means = one.mean(0), other.mean(0)
    norms = torch.stack([mean.norm(dim=1) for mean in means]).amax(0)
    gap = (means[0] - means[1]).norm(dim=1)
    scale = norms.clamp_min(floor * float(norms.max())).clamp_min(1e-150)
    relative: Tensor = gap / scale
    if len(one) > 1:
        between = relative**2 * len(one) / 2
        within = (one.var(0) + other.var(0)).sum(1) / 2 / scale**2
        if bool(between.sum() <= NOISE * within.sum()):
            return torch.zeros_like(relative)
    return relative


def distance_beyond_factor(one: Tensor, other: Tensor, *, positive: bool, floor: float = ROUNDING) -> Tensor:
    """(N,) as `distance`, after the factor for each map of other that brings it nearest to one.

    positive: whether only factors above zero are allowed.
    """
    means = one.mean(0), other.mean(0)
    factor = (means[0] * means[1]).sum(1) / (means[1] ** 2).sum(1).clamp_min(1e-300)
    return distance(one, other * (factor.clamp_min(0) if positive else factor)[:, None], floor)


def least_over_neighbours(
    compare: Callable[[Tensor], Tensor], draw: Draw, enough: float = ROUNDING
) -> Tensor:
    """(N,) what compare says of inputs, at its best on them and on two sets of close neighbours.

    enough: where all are below it, no neighbours are tried.

    Rounding may take a unit across its kink at one input, and the gradient jumps; it does not do so again
    next to it, while a defect stays.
    """
    inputs = draw.inputs
    worst = compare(inputs)
    for attempt in range(2):
        if bool((worst <= enough).all()):
            break
        noise = torch.randn(inputs.shape, generator=draw.generator("neighbour", attempt)).to(inputs)
        worst = torch.minimum(worst, compare(inputs + enough * inputs.std() * noise))
    return worst


def slopes(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor | None:
    """(1, N, P) gradient of the targets' logits, None where the model has none."""
    with torch.enable_grad():
        leaves = inputs.detach().clone().requires_grad_()
        logits = model(leaves)
        if not logits.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), leaves)
    flat: Tensor = gradient.double().flatten(1)
    return flat[None]


def all_alike(maps: Tensor, rounding: float) -> bool:
    """Whether maps (R, N, …) are the same for all inputs, up to a share of rounding."""
    return bool((distance(maps, maps[:, :1].expand_as(maps), rounding) <= rounding).all())


def unchanged(method: Explainer, draw: Draw, kind: str, finding: str) -> Measurement:
    """A violation where the call changed something of that kind in the model, named in the finding."""
    names = watch(method, draw).changes[kind]
    return violation(finding.format(first_of(names)) if names else "")


def first_of(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return names[0] + others
