"""Sensitivity analyses by name: a design of numbers, and an index of each of them from outputs on it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from xattr_check.statistics import salib
from xattr_check.statistics.gains import joined_values, joining, linear_fit
from xattr_check.statistics.morris import elementary_effects, screening, trajectories
from xattr_check.statistics.shapley_effects import (
    INNER,
    copula_design,
    drawn_orders,
    effects_by_copula,
    effects_by_orders,
    orders,
)
from xattr_check.statistics.sobol import saltelli, sobol_indices

# Of numbers that are uniform between 0 and 1.
DEVIATION = 12**-0.5


@dataclass(frozen=True)
class Sensitivity:
    """One index of one analysis.

    design: (parameters, samples, seed) -> (K, parameters) float64 in 0…1.
    analyse: (design · gain, outputs (M, K), gain, seed) -> (M, parameters) float64; the design is that of the
        same number of samples.
    samples: by default. least: fewer are refused, with the reason.
    parameters: so many at least.
    """

    design: Callable[[int, int, int], Tensor]
    analyse: Callable[[Tensor, Tensor, float, int], Tensor]
    samples: int
    least: int = 2
    reason: str = ""
    parameters: int = 1


def trajectories_of(levels: int) -> Callable[[int, int, int], Tensor]:
    """The design of Morris' screening on a grid of so many levels."""
    return lambda parameters, samples, seed: trajectories(
        parameters, samples, torch.Generator().manual_seed(seed), levels
    )


def dependent(correlation: Tensor) -> Sensitivity:
    """Shapley effects of gains that are drawn together, by a Gaussian copula with a correlation (D, D)."""

    def analyse(design: Tensor, outputs: Tensor, gain: float, seed: int) -> Tensor:
        count = design.shape[1]
        return effects_by_copula(drawn_orders(count, len(design) // (count * INNER), seed), outputs).share

    return Sensitivity(
        lambda parameters, samples, seed: copula_design(
            correlation, drawn_orders(parameters, samples, seed), seed
        ),
        analyse,
        64,
    )


def _sobol(index: str) -> Sensitivity:
    return Sensitivity(
        saltelli,
        lambda design, outputs, gain, seed: getattr(sobol_indices(outputs, design.shape[1]), index),
        64,
    )


def _morris(statistic: str) -> Sensitivity:
    return Sensitivity(
        trajectories_of(4),
        lambda design, outputs, gain, seed: getattr(
            screening(elementary_effects(design, outputs)), statistic
        ),
        16,
    )


def _salib(
    design: Callable[[int, int, int], Tensor],
    analysis: Callable[[Tensor, Tensor, int], Tensor],
    samples: int,
    least: int,
    reason: str,
    parameters: int = 1,
) -> Sensitivity:
    return Sensitivity(
        design,
        lambda gains, outputs, gain, seed: analysis(gains, outputs, seed),
        samples,
        least,
        reason,
        parameters,
    )


def _fast(index: str) -> Sensitivity:
    harmonics = salib.FAST_HARMONICS
    return _salib(
        salib.curves,
        partial(salib.fast, index=index),
        129,
        4 * harmonics**2 + 1,
        f"more than 4 M² for M = {harmonics} harmonics",
    )


def _pawn(index: str) -> Sensitivity:
    return _salib(
        salib.latin,
        partial(salib.pawn, index=index),
        1024,
        2 * salib.SLICES,
        f"two for each of {salib.SLICES} intervals",
    )


def _hdmr(index: str) -> Sensitivity:
    least = salib.HDMR_LEAST
    return _salib(salib.latin, partial(salib.hdmr, index=index), 1024, least, "for its regression", 2)


# Analyses by name, and of each its indices by name, the first one by default.
SENSITIVITIES: dict[str, dict[str, Sensitivity]] = {
    "sobol": {
        **{index: _sobol(index) for index in ("total", "first")},
        "second": Sensitivity(
            partial(saltelli, pairs=True),
            lambda design, outputs, gain, seed: sobol_indices(outputs, design.shape[1], pairs=True).paired,
            64,
        ),
    },
    "morris": {statistic: _morris(statistic) for statistic in ("magnitude", "mean", "deviation")},
    "shapley": {
        "value": Sensitivity(joining, lambda design, outputs, gain, seed: joined_values(design, outputs), 32),
        "effect": Sensitivity(
            orders, lambda design, outputs, gain, seed: effects_by_orders(design, outputs).share, 64
        ),
    },
    "lime": {
        "coefficient": Sensitivity(
            salib.latin,
            lambda design, outputs, gain, seed: linear_fit(design, outputs, spread=gain * DEVIATION),
            1000,
        )
    },
    "fast": {index: _fast(index) for index in ("total", "first")},
    "rbd_fast": {
        "first": _salib(
            salib.latin,
            salib.rbd_fast,
            1024,
            2 * salib.RBD_HARMONICS + 1,
            f"more than 2 M for M = {salib.RBD_HARMONICS} harmonics",
        )
    },
    "delta": {
        "delta": _salib(salib.latin, salib.delta, 1024, salib.DELTA_LEAST, "for densities of its classes")
    },
    "pawn": {index: _pawn(index) for index in ("median", "mean", "maximum")},
    "hdmr": {index: _hdmr(index) for index in ("total", "first")},
}


def sensitivity_of(name: str, index: str | None, samples: int | None, parameters: int) -> Sensitivity:
    """The analysis of a name with an index of its own, for so many parameters.

    index, samples: None for those that it has by default.

    Raises ValueError for what there is not, and where samples or parameters are too few for it.
    """
    if name not in SENSITIVITIES:
        raise ValueError(f"expected sensitivity {_either(SENSITIVITIES)}, came {name!r}")
    indices = SENSITIVITIES[name]
    if index is not None and index not in indices:
        raise ValueError(f"expected index {_either(indices)} of sensitivity {name!r}, came {index!r}")
    found = indices[index or next(iter(indices))]
    if samples is not None:
        found = replace(found, samples=samples)
    if found.samples < found.least:
        why = f", {found.reason}" if found.reason else ""
        raise ValueError(
            f"expected samples of at least {found.least} for sensitivity {name!r}{why}, came {samples}"
        )
    if parameters < found.parameters:
        raise ValueError(
            f"expected at least {found.parameters} regions for sensitivity {name!r}, came {parameters}"
        )
    return found


def _either(names: Iterable[str]) -> str:
    *most, last = map(repr, names)
    return f"{', '.join(most)} or {last}" if most else last
