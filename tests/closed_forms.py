"""Functions of independent numbers in 0…1 whose Sobol indices are known."""

import math

import torch
from torch import Tensor

from xattr_check.statistics.sobol import Indices


def ishigami(points: Tensor) -> Tensor:
    """sin x₁ + 7 sin² x₂ + 0.1 x₃⁴ sin x₁ of numbers in −π…π, [ishigami1990]."""
    x = (2 * points - 1) * math.pi
    return x[:, 0].sin() + 7 * x[:, 1].sin() ** 2 + 0.1 * x[:, 2] ** 4 * x[:, 0].sin()


def ishigami_indices() -> Indices:
    first = torch.tensor([(1 + 0.1 * math.pi**4 / 5) ** 2 / 2, 49 / 8, 0.0], dtype=torch.float64)  # variances
    pair = 0.1**2 * math.pi**8 * (1 / 18 - 1 / 50)  # of x₁ and x₃
    variance = first.sum() + pair
    second = torch.zeros(3, 3, dtype=torch.float64)
    second[0, 2] = second[2, 0] = pair / variance
    return Indices(first / variance, (first + torch.tensor([pair, 0, pair])) / variance, second)


SCALES = torch.tensor([0.0, 1.0, 4.5, 9.0, 99.0, 99.0], dtype=torch.float64)


def sobol_g(points: Tensor) -> Tensor:
    """∏ (|4 xᵢ − 2| + aᵢ) / (1 + aᵢ)."""
    return (((4 * points - 2).abs() + SCALES) / (1 + SCALES)).prod(1)


def sobol_g_indices() -> Indices:
    alone = 1 / (3 * (1 + SCALES) ** 2)
    variance = (1 + alone).prod() - 1
    second = (alone[:, None] * alone).fill_diagonal_(0) / variance
    return Indices(alone / variance, alone * (1 + alone).prod() / (1 + alone) / variance, second)
