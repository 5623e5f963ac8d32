"""Means of many gradients against slow textbook versions on small float64 networks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Twice, smooth
from torch import Tensor, nn

import xattr_check
from xattr_methods import (
    expected_gradients,
    gradient,
    integrated_gradients,
    smooth_integrated_gradients,
    smoothgrad,
    smoothgrad_squared,
    vargrad,
)
from xattr_methods.gradients.integrated_gradients import convergence_delta

SIDE = 6
ALL = (
    integrated_gradients,
    smoothgrad,
    smoothgrad_squared,
    vargrad,
    smooth_integrated_gradients,
    expected_gradients,
)
by_name = pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)


@pytest.fixture
def images() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = Twice(2).double().eval().requires_grad_(False)
    return model, torch.randn(3, 2, SIDE, SIDE, dtype=torch.float64), torch.tensor([0, 2, 1])


@pytest.fixture
def columns() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(1)
    return smooth(5), torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 2, 1, 1])


def slope(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The gradient at one point, one at a time."""
    x = x.clone().requires_grad_()
    model(x[None])[0, int(target)].backward()
    return x.grad


def slow_integral(
    model: nn.Module, x: Tensor, start: Tensor, target: Tensor, rule: list[tuple[float, float]]
) -> Tensor:
    total = torch.zeros_like(x)
    for place, weight in rule:
        total += weight * slope(model, start + place * (x - start), target)
    return total * (x - start)


def midpoints(steps: int) -> list[tuple[float, float]]:
    return [((k + 0.5) / steps, 1 / steps) for k in range(steps)]


GAUSS = np.polynomial.legendre.leggauss(5)
RULES = {
    "midpoint": midpoints(5),
    "left": [(k / 5, 0.2) for k in range(5)],
    "right": [((k + 1) / 5, 0.2) for k in range(5)],
    "trapezoid": [(0, 0.125), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25), (1, 0.125)],
    "gauss_legendre": [(float(0.5 * n + 0.5), float(0.5 * w)) for n, w in zip(*GAUSS, strict=True)],
}


@pytest.mark.parametrize("quadrature", RULES)
@pytest.mark.parametrize("baseline", [None, 0.25, torch.tensor([0.5, -1.0]).reshape(2, 1, 1)])
def test_integrated_gradients_is_the_sum_of_its_rule(images, quadrature, baseline) -> None:
    model, inputs, targets = images
    start = torch.zeros(2, SIDE, SIDE).double() + (0.0 if baseline is None else baseline)
    slow = [
        slow_integral(model, x, start, t, RULES[quadrature]) for x, t in zip(inputs, targets, strict=True)
    ]
    found = integrated_gradients(model, inputs, targets, baseline=baseline, steps=5, quadrature=quadrature)
    torch.testing.assert_close(found, torch.stack(slow), rtol=1e-9, atol=1e-12)


def test_a_gaussian_rule_is_complete_with_few_steps(columns) -> None:
    model, inputs, targets = columns
    maps = integrated_gradients(
        model, inputs, targets, baseline=0.3, steps=24, quadrature="gauss_legendre"
    ).detach()
    gap = convergence_delta(model, inputs, targets, maps, 0.3)
    assert gap.shape == (4,)
    assert gap.dtype == torch.float64
    assert float(gap.abs().max()) < 1e-9
    coarse = integrated_gradients(model, inputs, targets, baseline=0.3, steps=24)
    assert float(convergence_delta(model, inputs, targets, coarse, 0.3).abs().max()) > 1e-6


def test_the_convergence_delta_is_what_the_sum_has_too_much(images) -> None:
    model, inputs, targets = images
    maps = torch.randn_like(inputs)
    slow = [
        maps[row].sum()
        - model(inputs)[row, targets[row]]
        + model(torch.full_like(inputs, 0.5))[row, targets[row]]
        for row in range(3)
    ]
    found = convergence_delta(model, inputs, targets, maps, 0.5)
    torch.testing.assert_close(found, torch.stack(slow), rtol=1e-10, atol=1e-12)
    few = convergence_delta(model, inputs, targets, maps, 0.5, memory=1)
    torch.testing.assert_close(found, few, rtol=1e-12, atol=1e-12)


def noisy(inputs: Tensor, samples: int, noise: float, seed: int) -> Tensor:
    """(samples, N, *F)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(samples, *inputs.shape[1:], generator=generator, dtype=torch.float64)
    return torch.stack(
        [torch.stack([x + noise * (x.max() - x.min()) * one for x in inputs]) for one in drawn]
    )


def test_squares_and_variance_of_the_gradients_of_neighbours(images) -> None:
    model, inputs, targets = images
    slopes = torch.stack(
        [
            torch.stack([slope(model, x, t) for x, t in zip(near, targets, strict=True)])
            for near in noisy(inputs, 9, 0.3, 4)
        ]
    )
    options = {"samples": 9, "noise": 0.3, "seed": 4}
    for memory in (1, 2**28):
        found = smoothgrad_squared(model, inputs, targets, **options, memory=memory)
        torch.testing.assert_close(found, (slopes**2).mean(0), rtol=1e-9, atol=1e-14)
        found = vargrad(model, inputs, targets, **options, memory=memory)
        torch.testing.assert_close(found, slopes.var(0), rtol=1e-9, atol=1e-14)


def test_the_variance_survives_a_large_mean(images) -> None:
    model, inputs, targets = images
    shift = torch.randn(2, SIDE, SIDE).double()

    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x) + 1e6 * (x * shift).sum((1, 2, 3))[:, None]

    torch.testing.assert_close(
        vargrad(Steep(), inputs, targets, memory=1), vargrad(model, inputs, targets), rtol=1e-4, atol=1e-9
    )


def test_smooth_integrated_gradients_averages_over_neighbours(images) -> None:
    model, inputs, targets = images
    start = torch.full((2, SIDE, SIDE), 0.1, dtype=torch.float64)
    slow = torch.zeros_like(inputs)
    for near in noisy(inputs, 3, 0.2, 7):
        for row in range(3):
            slow[row] += slow_integral(model, near[row], start, targets[row], midpoints(4)) / 3
    found = smooth_integrated_gradients(
        model, inputs, targets, baseline=0.1, samples=3, steps=4, noise=0.2, seed=7
    )
    torch.testing.assert_close(found, slow, rtol=1e-9, atol=1e-12)


def test_expected_gradients_is_unbiased_for_the_mean_over_the_background(columns) -> None:
    model, inputs, targets = columns
    background = torch.randn(5, 5, dtype=torch.float64)
    exact = torch.stack(
        [
            integrated_gradients(
                model, inputs, targets, baseline=start, steps=24, quadrature="gauss_legendre"
            )
            for start in background
        ]
    ).mean(0)
    found = torch.stack(
        [
            expected_gradients(model, inputs, targets, background=background, samples=7, seed=seed)
            for seed in range(300)
        ]
    )
    error = found.std(0) / 300**0.5
    assert float(((found.mean(0) - exact).abs() / error).max()) < 4.5
    finer = [
        expected_gradients(model, inputs, targets, background=background, samples=2000, seed=seed)
        for seed in range(2)
    ]
    torch.testing.assert_close(finer[0], exact, rtol=0, atol=0.02)
    assert not torch.equal(*finer)


def test_expected_gradients_start_from_what_is_absence(columns) -> None:
    model, inputs, targets = columns

    def subject(reference) -> xattr_check.Subject:
        return xattr_check.Subject("s", model, inputs, targets, reference=reference)

    def explain(**keywords) -> Tensor:
        return expected_gradients(model, inputs, targets, **keywords)

    zeros = torch.zeros(3, 5, dtype=torch.float64)
    told = explain(subject=subject(lambda n, generator: torch.zeros(n, 5)))
    torch.testing.assert_close(told, explain(background=zeros))
    # Without a reference, noise; never the batch.
    normal = explain(subject=subject(None))
    torch.testing.assert_close(normal, explain())
    torch.testing.assert_close(normal[:1], expected_gradients(model, inputs[:1], targets[:1]))
    bound = xattr_check.methods()["expected_gradients"].bind(subject(lambda n, _: torch.zeros(n, 5)))
    torch.testing.assert_close(bound(model, inputs, targets), told)


@by_name
def test_columns_tokens_and_seeds(columns, method) -> None:
    model, inputs, targets = columns
    assert method(model, inputs, targets).shape == inputs.shape
    tokens = nn.Sequential(nn.Flatten(), smooth(10))
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    assert method(tokens, x, targets).shape == x.shape
    if method is not integrated_gradients:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first = method(model, inputs, targets, seed=3)
        torch.testing.assert_close(first, method(model, inputs, targets, seed=3), rtol=0, atol=0)
        assert not torch.allclose(first, method(model, inputs, targets, seed=4))
        assert torch.equal(before, torch.get_rng_state())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 4))
def test_what_holds_for_linear_models(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(6, 3).double()
    with torch.no_grad():
        model.weight.copy_(torch.randn(3, 6, generator=generator))
        model.weight[:, 2] = 0
    x = torch.randn(count, 6, generator=generator).double()
    targets = torch.randint(3, (count,), generator=generator)
    background = torch.randn(4, 6, generator=generator).double()
    weights = model.weight[targets].detach()
    torch.testing.assert_close(smoothgrad_squared(model, x, targets), weights**2)
    torch.testing.assert_close(vargrad(model, x, targets), torch.zeros_like(x), rtol=0, atol=1e-20)
    # Each row of the background is used equally often, so that a linear model leaves no error.
    found = expected_gradients(model, x, targets, background=background, samples=8)
    torch.testing.assert_close(found, weights * (x - background.mean(0)))
    for method in ALL:
        assert float(method(model, x, targets)[:, 2].abs().max()) == 0
    delta = convergence_delta(model, x, targets, integrated_gradients(model, x, targets))
    torch.testing.assert_close(delta, torch.zeros_like(delta), rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), factor=st.floats(-3, 3))
def test_integrated_gradients_is_linear_in_the_model_and_equivariant(seed: int, factor: float) -> None:
    torch.manual_seed(seed)
    one, other = smooth(5), smooth(5)
    x, targets = torch.randn(3, 5, dtype=torch.float64), torch.tensor([0, 1, 2])
    order = torch.randperm(5)

    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return one(x) + factor * other(x)

    class Permuted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return one(x[:, order.argsort()])

    maps = integrated_gradients(one, x, targets, steps=6)
    both = maps + factor * integrated_gradients(other, x, targets, steps=6)
    torch.testing.assert_close(integrated_gradients(Sum(), x, targets, steps=6), both, rtol=1e-9, atol=1e-12)
    moved = integrated_gradients(Permuted(), x[:, order], targets, steps=6)
    torch.testing.assert_close(moved, maps[:, order], rtol=1e-9, atol=1e-12)


def test_refusals(columns) -> None:
    model, inputs, targets = columns
    with pytest.raises(
        ValueError, match="quadrature='simpson': expected midpoint, trapezoid, gauss_legendre"
    ):
        integrated_gradients(model, inputs, targets, quadrature="simpson")
    with pytest.raises(ValueError, match="steps: expected at least 2 for quadrature='trapezoid', came 1"):
        integrated_gradients(model, inputs, targets, quadrature="trapezoid", steps=1)
    with pytest.raises(ValueError, match="vargrad: expected at least 2 samples, came 1"):
        vargrad(model, inputs, targets, samples=1)
    with pytest.raises(ValueError, match=r"expected a background \(B, 5\) with B ≥ 1, came \(3, 4\)"):
        expected_gradients(model, inputs, targets, background=torch.zeros(3, 4))


def test_float32_agrees_with_float64(images) -> None:
    model, inputs, targets = images
    exact = {method: method(model, inputs, targets) for method in ALL}
    model.float()
    for method in ALL:
        found = method(model, inputs.float(), targets)
        assert found.dtype == torch.float32
        error = (found.double() - exact[method]).abs().max() / exact[method].abs().max()
        assert float(error) < 1e-3, method
    assert gradient(model, inputs.float(), targets).dtype == torch.float32
