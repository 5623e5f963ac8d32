"""Sensitivity analyses against SALib's own functions, and those with a sign against formulas."""

import inspect
import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from SALib import analyze, sample
from torch import Tensor

from xattr_check.statistics import salib
from xattr_check.statistics.gains import joined_values, joining, linear_fit
from xattr_check.statistics.sensitivity import SENSITIVITIES, sensitivity_of

OF_SALIB = ("fast", "rbd_fast", "delta", "pawn", "hdmr")
# Enough for every analysis, and quick.
SAMPLES = {"fast": 65, "delta": 100, "hdmr": 300}
HALF_TURN = [-math.pi, math.pi]


def ishigami(points: Tensor) -> Tensor:
    """Of numbers in 0…1, [ishigami1990]."""
    x = (2 * points - 1) * math.pi
    return x[:, 0].sin() + 7 * x[:, 1].sin() ** 2 + 0.1 * x[:, 2] ** 4 * x[:, 0].sin()


def theirs(name: str, index: str, inputs: np.ndarray, outputs: np.ndarray) -> Any:
    """SALib's own indices of numbers in their own bounds, by its own call for each analysis."""
    told = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [HALF_TURN] * 3}
    np.random.seed(5)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        if name == "fast":
            return analyze.fast.analyze(told, outputs)[{"first": "S1", "total": "ST"}[index]]
        if name == "rbd_fast":
            return analyze.rbd_fast.analyze(told, inputs, outputs)["S1"]
        if name == "delta":
            return analyze.delta.analyze(told, inputs, outputs, num_resamples=10, method="delta")["delta_raw"]
        if name == "pawn":
            return analyze.pawn.analyze(told, inputs, outputs)[index]
        order = 1 if index == "first" else 2
        found = analyze.hdmr.analyze(told, inputs, outputs, maxorder=order, K=1)
        return found["S"][:3] if index == "first" else found["ST"][:3]


@pytest.mark.parametrize(
    ("name", "index"), [(name, index) for name in OF_SALIB for index in SENSITIVITIES[name]]
)
def test_salib_says_the_same(name: str, index: str) -> None:
    """Of Ishigami's function, whatever the unit of its parameters and of its outputs."""
    analysis = sensitivity_of(name, index, SAMPLES.get(name, 200), 3)
    design = analysis.design(3, analysis.samples, 1)
    sampler = sample.fast_sampler if name == "fast" else sample.latin
    told = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [HALF_TURN] * 3}
    inputs = sampler.sample(told, analysis.samples, seed=1)
    np.testing.assert_allclose((2 * design - 1) * math.pi, inputs, rtol=0, atol=1e-12)
    outputs = ishigami(design)
    found = analysis.analyse(2 * design, torch.stack([outputs, 3 * outputs - 8]), 2.0, 5)
    # Their regression has a penalty, and ours is of outputs of one size; their delta draws more numbers where
    # some of the inputs are negative.
    shown = (outputs - outputs.mean()) / outputs.std(correction=0) if name == "hdmr" else outputs
    given = inputs + 4 if name == "delta" else inputs
    wanted = np.asarray(theirs(name, index, given, shown.numpy()), dtype=float)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", OF_SALIB)
def test_an_output_that_never_changes_and_the_generators_of_others(name: str) -> None:
    analysis = sensitivity_of(name, None, SAMPLES.get(name, 64), 2)
    design = analysis.design(2, analysis.samples, 0)
    state, shown, filters = np.random.get_state()[1].copy(), warnings.formatwarning, list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outputs = torch.stack([torch.full_like(design[:, 0], 0.1), design[:, 0] + design[:, 1] ** 2])
        found = analysis.analyse(design, outputs, 1.0, 0)
    assert found[0].tolist() == [0, 0]
    assert bool((found[1] > 0).all())
    assert np.array_equal(state, np.random.get_state()[1])
    assert (warnings.formatwarning, list(warnings.filters)) == (shown, filters)
    # The analysis of an output does not depend on the others.
    assert torch.equal(analysis.analyse(design, outputs[1:], 1.0, 0), found[1:])
    assert analysis.analyse(design, outputs[:0], 1.0, 0).shape == (0, 2)


def test_shares_of_known_functions() -> None:
    """Ishigami's first-order indices are 0.314, 0.442 and 0, the total ones 0.558, 0.442 and 0.244."""
    wanted = {"first": [0.314, 0.442, 0.0], "total": [0.558, 0.442, 0.244]}
    for name, index, samples in (
        ("fast", "first", 1000),
        ("fast", "total", 1000),
        ("rbd_fast", "first", 4000),
    ):
        analysis = sensitivity_of(name, index, samples, 3)
        design = analysis.design(3, samples, 0)
        found = analysis.analyse(design, ishigami(design)[None], 1.0, 0)[0]
        assert found.tolist() == pytest.approx(wanted[index], abs=0.04)


def test_hdmr_of_a_polynomial() -> None:
    """Of x + 2 y + 4 (x − ½)(y − ½): variances 1/12, 4/12 and 16/144."""
    for index, parts in (("first", [3, 12]), ("total", [7, 16])):
        analysis = sensitivity_of("hdmr", index, 1000, 2)
        design = analysis.design(2, 1000, 0)
        outputs = design[:, 0] + 2 * design[:, 1] + 4 * (design - 0.5).prod(1)
        found = analysis.analyse(design, outputs[None], 1.0, 0)[0]
        assert found.tolist() == pytest.approx([part / 19 for part in parts], abs=0.03)


def slow_fit(gains: np.ndarray, outputs: np.ndarray, spread: float, width: float, penalty: float) -> Any:
    """The same ridge by scikit-learn, on one output."""
    from sklearn.linear_model import Ridge

    scaled = (gains - 1) / spread
    weights = np.exp(-np.square(scaled).sum(1) / (2 * scaled.shape[1] * width**2))
    return Ridge(alpha=penalty).fit(scaled, outputs, sample_weight=weights).coef_ / spread


def test_a_linear_fit_is_a_weighted_ridge() -> None:
    generator = torch.Generator().manual_seed(0)
    gains = 2 * torch.rand(30, 4, generator=generator, dtype=torch.float64)
    outputs = torch.randn(3, 30, generator=generator, dtype=torch.float64)
    found = linear_fit(gains, outputs, spread=0.5, width=0.3, penalty=2.0)
    for row, one in zip(found, outputs.numpy(), strict=True):
        np.testing.assert_allclose(row, slow_fit(gains.numpy(), one, 0.5, 0.3, 2.0), rtol=1e-9, atol=1e-12)


def test_values_are_those_of_all_orders() -> None:
    """Of a product of three, by all six orders in which they join, at the same numbers."""

    def product(x: Tensor) -> Tensor:
        return (x + torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)).prod(-1)

    design = joining(3, 2048, 0)
    found = joined_values(design, product(design)[None])[0]
    # In expectation, a number that has joined is a half, and one that has not is none.
    wanted = torch.zeros(3, dtype=torch.float64)
    for order in itertools.permutations(range(3)):
        here = torch.zeros(3, dtype=torch.float64)
        for place in order:
            before = product(here)
            here[place] = 0.5
            wanted[place] += (product(here) - before) / 6
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.03)
    ends = product(design).reshape(-1, 4)
    assert float(found.sum()) == pytest.approx(float((ends[:, -1] - ends[:, 0]).mean()), abs=1e-12)


def test_walks_set_one_number_after_the_other_and_are_mirrored() -> None:
    design = joining(5, 6, 3).reshape(6, 6, 5)
    assert not bool(design[:, 0].any())
    assert bool(((design.diff(dim=1) != 0).sum(2) == 1).all())
    assert bool(((design.diff(dim=1) != 0).sum(1) == 1).all())
    torch.testing.assert_close(design[::2, -1] + design[1::2, -1], torch.ones(3, 5, dtype=torch.float64))
    turns = (design.diff(dim=1) != 0).double().argmax(1)
    assert torch.equal(turns[::2] + turns[1::2], torch.full((3, 5), 4))


def test_what_is_linear_in_the_gains_is_told_alike() -> None:
    """Coefficients and values are the weights, whatever the design; total indices go with their squares."""
    weights = torch.tensor([[3.0, -2.0, 1.0, 0.25], [-0.5, 0.0, 4.0, 2.0]], dtype=torch.float64)
    found = {}
    for name in ("lime", "shapley", "sobol"):
        analysis = sensitivity_of(name, None, None, 4)
        gains = 2 * analysis.design(4, analysis.samples, 7)
        found[name] = analysis.analyse(gains, weights @ gains.T + 11, 2.0, 7)
    torch.testing.assert_close(found["shapley"], weights, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found["lime"], weights, rtol=0.01, atol=1e-3)
    shares = weights**2 / (weights**2).sum(1, keepdim=True)
    torch.testing.assert_close(found["sobol"], shares, rtol=0, atol=0.03)
    orders = [values.abs().argsort(1).tolist() for values in (*found.values(), weights)]
    assert all(order == orders[0] for order in orders)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("sobel", None, None, 3), "expected sensitivity 'sobol', 'morris', 'shapley', 'lime', 'fast', "),
        (("lime", "total", None, 3), "expected index 'coefficient' of sensitivity 'lime', came 'total'"),
        (
            ("pawn", "total", None, 3),
            "expected index 'median', 'mean' or 'maximum' of sensitivity 'pawn', came 'total'",
        ),
        (
            ("fast", None, 64, 3),
            "expected samples of at least 65 for sensitivity 'fast', more than 4 M² for M = 4 harmonics, ",
        ),
        (
            ("hdmr", None, 299, 3),
            "expected samples of at least 300 for sensitivity 'hdmr', for its regression, came 299",
        ),
        (("hdmr", None, 300, 1), "expected at least 2 regions for sensitivity 'hdmr', came 1"),
    ],
)
def test_what_does_not_go_together_is_told(given: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        sensitivity_of(*given)
    assert str(caught.value).startswith(sentence)


def test_an_odd_number_of_walks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an even number of samples, came 3"):
        joining(2, 3, 0)


def test_every_analysis_is_named_in_the_method() -> None:
    from xattr_methods import sbsa

    annotation = inspect.signature(sbsa.function).parameters["sensitivity"].annotation
    assert list(annotation.__args__) == list(SENSITIVITIES)
    statement = inspect.getdoc(sbsa.function) or ""
    assert all(f"`{index}`" in statement for indices in SENSITIVITIES.values() for index in indices)
    assert salib.problem(2, 2.0)["bounds"] == [[0.0, 2.0]] * 2
