"""Morris screening: trajectories, elementary effects, and what is told from them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Screening:
    """Statistics of elementary effects, each (…, D) float64.

    mean: μ, signed. magnitude: μ*, the mean of their magnitudes. deviation: σ, where a parameter interacts
    with others or acts otherwise than linearly.
    """

    mean: Tensor
    magnitude: Tensor
    deviation: Tensor


def trajectories(parameters: int, samples: int, generator: torch.Generator, levels: int = 4) -> Tensor:
    """(samples · (parameters + 1), parameters) float64 in 0…1: random trajectories of [morris1991].

    Each starts on a grid of so many levels and moves one parameter after the other, in random order, up or
    down by levels / (2 (levels − 1)). Raises ValueError for an odd number of levels, which would be biased.
    """
    if levels < 2 or levels % 2:
        raise ValueError(f"expected an even number of levels, came {levels}")
    step = levels / (2 * (levels - 1))
    size = (samples, parameters)
    low = torch.randint(levels // 2, size, generator=generator).double() / (levels - 1)
    down = torch.rand(size, generator=generator) < 0.5
    turn = torch.rand(size, generator=generator, dtype=torch.float64).argsort(1)
    moved = torch.arange(parameters + 1)[:, None] > turn[:, None]  # after so many moves
    up = (moved ^ down[:, None]).double()
    return (low[:, None] + step * up).flatten(0, 1)


def elementary_effects(design: Tensor, outputs: Tensor) -> Tensor:
    """(M, samples, D) float64: change of M outputs (M, samples · (D + 1)) over that of each parameter.

    design: as `trajectories` gives it, in any unit: one parameter changes from row to row.
    """
    parameters = design.shape[1]
    moves = design.reshape(-1, parameters + 1, parameters).diff(dim=1)
    changes = outputs.double().unflatten(1, (-1, parameters + 1)).diff(dim=2)
    which = moves.abs().argmax(2).to(outputs.device)
    slopes = changes / moves.sum(2).to(changes)
    return torch.zeros_like(slopes).scatter_(2, which.expand_as(slopes), slopes)


def screening(effects: Tensor, weights: Tensor | None = None) -> Screening:
    """Statistics of elementary effects (M, samples, D): (M, D) each. [campolongo2007]

    weights: (R, samples) of bootstrap samples; one set of statistics for each: (R, M, D).
    """
    if weights is None:
        # Also of no outputs, where torch's own deviation would warn.
        squares = (effects - effects.mean(1, keepdim=True)) ** 2
        deviation = (squares.sum(1) / (effects.shape[1] - 1)).sqrt()
        return Screening(effects.mean(1), effects.abs().mean(1), deviation)
    count = effects.shape[1]
    rows = effects.transpose(0, 1)

    def mean(values: Tensor) -> Tensor:
        found: Tensor = (weights.to(values) @ values.flatten(1)).unflatten(1, values.shape[1:])
        return found

    centre = mean(rows)
    # About the plain mean, for the sake of rounding.
    about = rows.mean(0)
    spread = mean((rows - about) ** 2) - (centre - about) ** 2
    deviation = (spread.clamp_min(0) * count / (count - 1)).sqrt()
    return Screening(centre, mean(rows.abs()), deviation)
