"""The spread of maps from seed to seed."""

import inspect
import math

import torch
from torch import Tensor

from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.statistics.similarity import spearman

# Maps of each input, by as many seeds.
SEEDS = 3


@axiom(
    statement="How much of a map is the luck of its draws, which more of them would take away.",
    family="cost",
    gate=AtMost(math.inf),
    reads="of what unrelated maps differ by is between two maps by other seeds",
    bounds=(0, 2),
    # Three maps of each input, by a method that may take thousands of forward passes for one.
    cost="standard",
    inputs=16,
)
def seed_spread(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Σ |aᵢ − aⱼ|² / Σ (|aᵢ|² + |aⱼ|²) over pairs of seeds, of maps less their own mean, for each input.

    0 where the seed does not matter, 1 for maps that have nothing in common but their level, which a map of
    rise mostly is. Of a method with a parameter `seed`, that is changed; of one that is declared stochastic,
    the global generators are. Others draw nothing, and are not asked. The evidence has the mean rank
    correlation of two maps, (n,).
    """
    by_parameter = "seed" in inspect.signature(method.method.function).parameters
    if not by_parameter and not method.method.stochastic:
        raise Undefined("the method has no parameter `seed`, and is not declared stochastic")
    maps = [_maps(method, subject, draw, seed, by_parameter) for seed in range(SEEDS)]
    pairs = [(one, other) for place, one in enumerate(maps) for other in maps[:place]]
    apart = torch.stack([(one - other).square().sum(1) for one, other in pairs]).sum(0)
    size = torch.stack([(one.square() + other.square()).sum(1) for one, other in pairs]).sum(0)
    alike = torch.stack([spearman(one, other) for one, other in pairs]).mean(0)
    return Measurement(apart / size.clamp_min(1e-300), evidence={"spearman": alike})


def _maps(method: Explainer, subject: Subject, draw: Draw, seed: int, by_parameter: bool) -> Tensor:
    """(n, P) float64 maps by a seed, each less its mean."""
    given, stream = method, seed
    if by_parameter:
        changed = method.method.with_parameters(method.name, {"seed": seed})
        given, stream = Explainer.of(changed, subject, draw.run), 0
    found = given(subject.model, draw.inputs, draw.targets, stream).double().flatten(1)
    flat = found.amax(1, keepdim=True) == found.amin(1, keepdim=True)  # whose mean may be rounded
    return torch.where(flat, 0.0, found - found.mean(1, keepdim=True))
