"""What gains do to outputs, with a sign: a linear fit around an input, and Shapley values of drawn gains."""

import torch
from torch import Tensor


def linear_fit(
    gains: Tensor, outputs: Tensor, *, spread: float, width: float = 0.75, penalty: float = 1.0
) -> Tensor:
    """(M, D) float64: change of outputs (M, K) for a change of a gain (K, D) by 1, by a ridge regression.

    The step of LIME for features that are numbers, in the authors' code [ribeiro2016]: gains are measured
    from 1, where the input is as it is, in units of their deviation; samples are weighted by
    exp(−distance² / 2 D width²).

    spread: the deviation of a gain. penalty: of the squared coefficients, in these units; the intercept is
        free.
    """
    scaled = (gains.double() - 1) / spread
    weights = torch.exp(-(scaled**2).mean(1) / (2 * width**2))
    weights = weights.to(outputs.device)
    scaled = scaled.to(outputs.device)
    scaled = scaled - weights @ scaled / weights.sum()  # centred, so that the intercept takes no part
    weighted = weights[:, None] * scaled
    system = scaled.T @ weighted
    system.diagonal().add_(penalty)
    found: Tensor = torch.linalg.solve(system, weighted.T @ outputs.double().T).T / spread
    return found


def joining(parameters: int, samples: int, seed: int) -> Tensor:
    """(samples · (parameters + 1), parameters) float64 in 0…1: numbers that are set one after the other.

    Each walk starts where all are 0 and sets them in random order to numbers that are drawn. Every second one
    is the one before it mirrored: in reverse order, to one minus the numbers. Raises ValueError for an odd
    number of samples.
    """
    if samples < 2 or samples % 2:
        raise ValueError(f"expected an even number of samples, came {samples}")
    generator = torch.Generator().manual_seed(seed)
    size = (samples // 2, parameters)
    # A number that is 0 would not be told to have been set.
    drawn = torch.rand(size, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    turn = torch.rand(size, generator=generator, dtype=torch.float64).argsort(1)
    numbers = torch.stack([drawn, 1 - drawn], 1).flatten(0, 1)
    turns = torch.stack([turn, parameters - 1 - turn], 1).flatten(0, 1)
    joined = torch.arange(parameters + 1)[:, None] > turns[:, None]  # after so many steps
    return (numbers[:, None] * joined).flatten(0, 1)


def joined_values(design: Tensor, outputs: Tensor) -> Tensor:
    """(M, D) float64: mean change of M outputs when a parameter is set in random order. [strumbelj2010]

    outputs: on a design of `joining`, in any unit. Of the game in which those who joined have drawn numbers
    and the others none, these are the Shapley values: they add up to the mean output less that of none.
    """
    parameters = design.shape[1]
    moves = design.reshape(-1, parameters + 1, parameters).diff(dim=1)
    changes = outputs.double().unflatten(1, (-1, parameters + 1)).diff(dim=2)
    which = moves.abs().argmax(2).to(outputs.device)
    return torch.zeros_like(changes).scatter_(2, which.expand_as(changes), changes).mean(1)
