"""Sensitivity analyses of SALib, each of many outputs on one design: FAST, RBD-FAST, delta, PAWN and HDMR."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xattr_check.imports import imported

# Harmonics that are summed, as SALib has them by default.
FAST_HARMONICS, RBD_HARMONICS = 4, 10
# Conditioning intervals of PAWN.
SLICES = 10
# By which delta's bias is estimated. Each is dozens of density estimates for each parameter.
RESAMPLES = 10
# Intervals are not asked for; without a second resample their deviation would be a warning.
NO_INTERVALS = 2
# A smaller sample is cut into classes of fewer than ten for delta's densities.
DELTA_LEAST = 50
# SALib refuses fewer for its regression.
HDMR_LEAST = 300

Analysis = Callable[[dict[str, Any], Any, Any], Any]


def problem(parameters: int, most: float = 1.0) -> dict[str, Any]:
    """What SALib is told of so many parameters between 0 and the largest."""
    names = [f"x{number}" for number in range(parameters)]
    return {"num_vars": parameters, "names": names, "bounds": [[0.0, most]] * parameters}


@contextmanager
def undisturbed(seed: int) -> Iterator[None]:
    """SALib at work: NumPy's global generator starts from the seed, and is afterwards as it was.

    What it warns of is about intervals that nobody asks for, and its delta changes how warnings are shown.
    """
    state, shown = np.random.get_state(), warnings.formatwarning
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")  # and not as errors, where a user has said so
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
            warnings.formatwarning = shown


def latin(parameters: int, samples: int, seed: int) -> Tensor:
    """(samples, parameters) float64 in 0…1: a Latin hypercube."""
    return torch.from_numpy(imported("SALib.sample.latin", "sample")(problem(parameters), samples, seed=seed))


def curves(parameters: int, samples: int, seed: int) -> Tensor:
    """(parameters · samples, parameters) float64 in 0…1: the search curves of FAST. [saltelli1999]"""
    sample = imported("SALib.sample.fast_sampler", "sample")
    return torch.from_numpy(sample(problem(parameters), samples, M=FAST_HARMONICS, seed=seed))


def fast(design: Tensor, outputs: Tensor, seed: int, index: str) -> Tensor:
    """(M, D): the first-order or total indices of M outputs (M, D · samples) on `curves`. [saltelli1999]"""
    analyze = imported("SALib.analyze.fast", "analyze")
    key = {"first": "S1", "total": "ST"}[index]
    return _each(
        lambda told, _, one: analyze(told, one, M=FAST_HARMONICS, num_resamples=NO_INTERVALS)[key],
        design,
        outputs,
        seed,
    )


def rbd_fast(design: Tensor, outputs: Tensor, seed: int) -> Tensor:
    """(M, D): the first-order indices of outputs (M, K) on any design (K, D). [tarantola2006]"""
    analyze = imported("SALib.analyze.rbd_fast", "analyze")
    return _each(
        lambda told, x, one: analyze(told, x, one, M=RBD_HARMONICS, num_resamples=NO_INTERVALS)["S1"],
        design,
        outputs,
        seed,
    )


def delta(design: Tensor, outputs: Tensor, seed: int) -> Tensor:
    """(M, D): half of what a parameter shifts the density of outputs (M, K) by on average. [borgonovo2007]

    Without the bias that bootstrap samples tell, by [plischke2013]. Slow: dozens of density estimates for
    each parameter and resample.
    """
    analyze = imported("SALib.analyze.delta", "analyze")
    return _each(
        lambda told, x, one: analyze(told, x, one, num_resamples=RESAMPLES, method="delta")["delta_raw"],
        design,
        outputs,
        seed,
    )


def pawn(design: Tensor, outputs: Tensor, seed: int, index: str) -> Tensor:
    """(M, D): how far the distribution of outputs (M, K) is from that with a parameter held. [pianosi2015]

    index: `median`, `mean` or `maximum` of Kolmogorov and Smirnov's distance over ten intervals of it.
    """
    analyze = imported("SALib.analyze.pawn", "analyze")
    return _each(lambda told, x, one: analyze(told, x, one, S=SLICES)[index], design, outputs, seed)


def hdmr(design: Tensor, outputs: Tensor, seed: int, index: str) -> Tensor:
    """(M, D): shares of the variance that terms of a regression make, outputs (M, K), K ≥ 300. [li2010]

    index: `first`, a parameter's own term, or `total`, together with those that it shares with one other.
    """
    analyze = imported("SALib.analyze.hdmr", "analyze")
    parameters = design.shape[1]
    order = {"first": 1, "total": min(2, parameters)}[index]

    def shares(told: dict[str, Any], x: Any, one: Any) -> Any:
        # Without a bootstrap all of the samples are taken.
        found = analyze(told, x, one, maxorder=order, K=1)
        return found["S"][:parameters] if index == "first" else found["ST"][:parameters]

    return _each(shares, design, outputs, seed)


def _each(analysis: Analysis, design: Tensor, outputs: Tensor, seed: int) -> Tensor:
    """(M, D) float64: an analysis of each output by itself, 0 for one that never changes.

    Raises ValueError where the analysis finds no number.
    """
    told, inputs = problem(design.shape[1], float(design.max())), design.double().cpu().numpy()
    found = np.zeros((len(outputs), design.shape[1]))
    for row, one in enumerate(outputs.double().cpu().numpy()):
        if one.max() == one.min():
            continue
        # Each from the same seed, so that it does not matter which others there are.
        with undisturbed(seed):
            # Large outputs that hardly change are analysed as well as small ones.
            found[row] = analysis(told, inputs, (one - one.mean()) / one.std())
    if not np.isfinite(found).all():
        raise ValueError("expected samples enough for an index of every parameter, came too few")
    return torch.from_numpy(found).to(outputs.device)
