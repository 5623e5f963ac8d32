"""Elementary effects against formulas, loops and, where it is installed, SALib."""

import numpy as np
import pytest
import torch
from torch import Tensor

from xattr_check.statistics.morris import elementary_effects, screening, trajectories
from xattr_check.statistics.sobol import bootstrap, half_width, resampled


def made(parameters: int, samples: int, levels: int = 4, seed: int = 0) -> Tensor:
    return trajectories(parameters, samples, torch.Generator().manual_seed(seed), levels)


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_a_trajectory_moves_each_parameter_once(levels: int) -> None:
    design = made(5, 200, levels).reshape(200, 6, 5)
    step = levels / (2 * (levels - 1))
    moves = design.diff(dim=1)
    assert bool(((moves != 0).sum(2) == 1).all())
    assert bool(((moves != 0).sum(1) == 1).all())
    assert moves.abs().amax(2).flatten().tolist() == pytest.approx([step] * 1000)
    grid = design * (levels - 1)
    torch.testing.assert_close(grid, grid.round(), rtol=0, atol=1e-9)
    assert (design.min(), design.max()) == (0, pytest.approx(1))
    # Up as often as down, and each parameter as often in each turn: five standard deviations.
    assert float((moves.sum(2) > 0).double().mean()) == pytest.approx(0.5, abs=5 * (0.25 / 1000) ** 0.5)
    turns = (moves != 0).double().mean(0)
    assert float((turns - 0.2).abs().max()) < 5 * (0.16 / 200) ** 0.5


def test_an_odd_number_of_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an even number of levels, came 3"):
        made(2, 4, levels=3)


def test_a_sum_has_its_weights_for_effects() -> None:
    weights = torch.tensor([[3.0, -2.0, 0.0], [1.0, 5.0, -0.5]], dtype=torch.float64)
    design = 2 * made(3, 6)
    found = screening(elementary_effects(design, weights @ design.T))
    torch.testing.assert_close(found.mean, weights, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.magnitude, weights.abs(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.deviation, torch.zeros_like(weights), rtol=0, atol=1e-10)


def test_a_product_has_effects_of_either_sign() -> None:
    """Of (x − ½)(y − ½) the effect is y − ½ or x − ½, on a grid of four levels ±1/2 and ±1/6, mean 0."""
    design = made(2, 4000)
    found = screening(elementary_effects(design, (design - 0.5).prod(1)[None]))
    assert found.mean[0].tolist() == pytest.approx([0, 0], abs=0.03)
    assert found.magnitude[0].tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.02)
    assert found.deviation[0].tolist() == pytest.approx([(5 / 36) ** 0.5] * 2, abs=0.02)


def outputs_of(design: Tensor, count: int) -> Tensor:
    weights = torch.randn(
        count, design.shape[1], generator=torch.Generator().manual_seed(7), dtype=torch.float64
    )
    sums = weights @ design.T
    return sums + sums.roll(1, 0) ** 2


def slow_effects(design: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    parameters = design.shape[1]
    found = np.zeros((len(design) // (parameters + 1), parameters))
    for row in range(len(design)):
        if row % (parameters + 1):
            (which,) = np.nonzero(design[row] != design[row - 1])[0]
            slope = (outputs[row] - outputs[row - 1]) / (design[row, which] - design[row - 1, which])
            found[row // (parameters + 1), which] = slope
    return found


def test_effects_and_their_resamples_by_a_loop() -> None:
    design = made(6, 9)
    outputs = outputs_of(design, 4)
    effects = elementary_effects(design, outputs)
    found = screening(effects)
    rows = torch.randint(9, (5, 9), generator=torch.Generator().manual_seed(0))
    again = screening(effects, resampled(rows))
    assert again.mean.shape == (5, 4, 6)
    for m, one in enumerate(outputs.numpy()):
        slow = slow_effects(design.numpy(), one)
        np.testing.assert_allclose(effects[m], slow, rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.mean[m], slow.mean(0), rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.magnitude[m], np.abs(slow).mean(0), rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.deviation[m], slow.std(0, ddof=1), rtol=0, atol=1e-10)
        for r, some in enumerate(rows.numpy()):
            np.testing.assert_allclose(again.mean[r, m], slow[some].mean(0), rtol=0, atol=1e-10)
            np.testing.assert_allclose(again.magnitude[r, m], np.abs(slow[some]).mean(0), rtol=0, atol=1e-10)
            np.testing.assert_allclose(again.deviation[r, m], slow[some].std(0, ddof=1), rtol=0, atol=1e-7)


def test_intervals_of_the_mean_effect_are_as_wide_as_its_error() -> None:
    errors, widths = [], []
    for seed in range(60):
        design = made(4, 64, seed=seed)
        effects = elementary_effects(design, outputs_of(design, 3))
        errors.append(screening(effects).magnitude)
        again = screening(effects, bootstrap(64, 200, torch.Generator().manual_seed(seed)))
        widths.append(half_width(again.magnitude))
    ratio = torch.stack(widths).mean(0) / (1.96 * torch.stack(errors).std(0))
    assert 0.7 < float(ratio.min()) < float(ratio.max()) < 1.4


@pytest.mark.parametrize(("parameters", "samples"), [(3, 20), (16, 8)])
def test_salib_says_the_same(parameters: int, samples: int) -> None:
    """Effects on our design, and intervals of μ* from the same resamples, which differ for each parameter."""
    from SALib.analyze import morris as analysis

    names = [f"x{k}" for k in range(parameters)]
    problem = {"num_vars": parameters, "names": names, "bounds": [[0.0, 1.0]] * parameters}
    design = made(parameters, samples)
    for one in outputs_of(design, 3):
        theirs = analysis.analyze(problem, design.numpy(), one.numpy(), num_resamples=50, seed=3)
        effects = elementary_effects(design, one[None])
        found = screening(effects)
        np.testing.assert_allclose(found.mean[0], theirs["mu"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.magnitude[0], theirs["mu_star"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.deviation[0], theirs["sigma"], rtol=0, atol=1e-10)
        drawn = np.random.default_rng(3)
        for k in range(parameters):
            weights = resampled(torch.from_numpy(drawn.integers(samples, size=(50, samples))))
            magnitudes = screening(effects[..., k : k + 1], weights).magnitude
            width = float(half_width(magnitudes))
            assert width == pytest.approx(float(theirs["mu_star_conf"][k]), abs=1e-10)
