"""Sobol indices and elementary effects of regions, against slow versions and formulas."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import Pooled, settled
from torch import Tensor, nn

from xattr_check import Subject
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.statistics.morris import elementary_effects, screening, trajectories
from xattr_check.statistics.sensitivity import SENSITIVITIES, sensitivity_of
from xattr_check.statistics.shapley_effects import copula_design, drawn_orders, effects_by_copula
from xattr_check.statistics.sobol import saltelli, sobol_indices
from xattr_methods import morris_sbsa, sbsa, sobol_sbsa
from xattr_methods.regions.sbsa import decisions


@pytest.fixture
def images() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    return settled(Pooled()), torch.randn(2, 3, 8, 6, dtype=torch.float64), torch.tensor([0, 2])


@torch.no_grad()
def slow_outputs(given: tuple[nn.Module, Tensor, Tensor], design: Tensor, probability: bool) -> Tensor:
    """Region by region of 2 × 2, image by image, on a baseline of ¼."""
    model, inputs, targets = given
    found = torch.zeros(len(inputs), len(design), dtype=torch.float64)
    for n, (image, target) in enumerate(zip(inputs, targets, strict=True)):
        for k, gains in enumerate(design):
            faded = image.clone()
            for region, (top, left) in enumerate([(0, 0), (0, 3), (4, 0), (4, 3)]):
                part = image[:, top : top + 4, left : left + 3]
                faded[:, top : top + 4, left : left + 3] = 0.25 + gains[region] * (part - 0.25)
            logits = model(faded[None])[0]
            found[n, k] = (logits.softmax(0) if probability else logits)[target]
    return found


def spread(values: Tensor) -> Tensor:
    """(2, 4) over 2 × 2 regions of 4 × 3 features: (2, 1, 8, 6)."""
    cells = values.reshape(2, 1, 2, 2) / 12
    return cells.repeat_interleave(4, 2).repeat_interleave(3, 3)


Given = tuple[nn.Module, Tensor, Tensor]


def expect_sobol_indices(images: Given, output: str = "logit") -> None:
    """Those of a textbook, of either order."""
    outputs = slow_outputs(images, 1.5 * saltelli(4, 8, seed=7), output == "probability")
    wanted = sobol_indices(outputs, 4)
    for index, values in (("first", wanted.first), ("total", wanted.total)):
        found = sobol_sbsa(
            *images, index=index, cells=2, samples=8, gain=1.5, baseline=0.25, seed=7, output=output
        )
        torch.testing.assert_close(found, spread(values), rtol=1e-9, atol=1e-12)


def expect_effects(images: Given) -> None:
    """Those of a textbook, their mean, their mean magnitude and their deviation."""
    design = 2 * trajectories(4, 5, torch.Generator().manual_seed(3), levels=6)
    wanted = screening(elementary_effects(design, slow_outputs(images, design, False)))
    for name in ("mean", "magnitude", "deviation"):
        found = morris_sbsa(*images, statistic=name, cells=2, samples=5, levels=6, baseline=0.25, seed=3)
        torch.testing.assert_close(found, spread(getattr(wanted, name)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("output", ["logit", "probability"])
def test_sobol_indices_of_regions(output: str, images) -> None:
    expect_sobol_indices(images, output)


def test_effects_of_regions(images) -> None:
    expect_effects(images)


# What stands where the gains of features are found, by the usual mistakes.
MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "gains clipped": lambda shares: shares.clamp(0, 1),
    "regions shifted by half a cell": lambda shares: shares.roll((2, 1), (1, 2)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("expect", [expect_sobol_indices, expect_effects])
def test_the_usual_mistakes_are_caught(
    expect: Callable[[Given], None], mistake: str, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SemanticMap.shares

    def shares(self: SemanticMap, *given: Any) -> Tensor:
        return MISTAKES[mistake](right(self, *given))

    monkeypatch.setattr(SemanticMap, "shares", shares)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        expect(images)


# Enough for each analysis.
SAMPLES = {"fast": 65, "rbd_fast": 64, "delta": 100, "pawn": 64, "hdmr": 300, "lime": 40}


@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_every_analysis_is_of_the_gains_of_regions(sensitivity: str, images) -> None:
    for index in SENSITIVITIES[sensitivity]:
        samples = SAMPLES.get(sensitivity, 8)
        found = sbsa(
            *images, sensitivity=sensitivity, index=index, cells=2, samples=samples, gain=1.5, baseline=0.25,
            seed=7,
        )  # fmt: skip
        analysis = sensitivity_of(sensitivity, index, samples, 4)
        design = 1.5 * analysis.design(4, samples, 7)
        wanted = analysis.analyse(design, slow_outputs(images, design, False), 1.5, 7)
        torch.testing.assert_close(found, spread(wanted), rtol=1e-6, atol=1e-9)


def test_two_analyses_have_names_of_their_own(images) -> None:
    for name, method in (("sobol", sobol_sbsa), ("morris", morris_sbsa)):
        assert torch.equal(sbsa(*images, sensitivity=name, cells=2), method(*images, cells=2))
    first = sbsa(*images, index="first", cells=2)
    assert torch.equal(first, sobol_sbsa(*images, index="first", cells=2))


def test_correlated_gains_have_effects(images) -> None:
    """Those of a copula in which a region goes with the one beside it, and less with the one across."""
    found = sbsa(
        *images, sensitivity="shapley", index="effect", correlation=0.6, cells=2, samples=8, gain=1.5,
        baseline=0.25, seed=7,
    )  # fmt: skip
    # Regions of 4 × 3 pixels: those side by side are nearer than those above each other.
    beside, above, across = 0.6, 0.6 ** (4 / 3), 0.6 ** (5 / 3)
    near = torch.tensor(
        [[1, beside, above, across], [beside, 1, across, above],
         [above, across, 1, beside], [across, above, beside, 1]], dtype=torch.float64,
    )  # fmt: skip
    order = drawn_orders(4, 8, 7)
    outputs = slow_outputs(images, 1.5 * copula_design(near, order, 7), False)
    wanted = effects_by_copula(order, outputs).share
    torch.testing.assert_close(found, spread(wanted), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(2, dtype=torch.float64))


def test_what_is_linear_is_told_alike_by_three_analyses() -> None:
    """Coefficients and values are wᵢ xᵢ, total indices are in proportion to their squares."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3).double()
    inputs, targets = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    products = inputs * model.weight.detach()[targets]
    given = (model, inputs, targets)
    value, coefficient = (sbsa(*given, sensitivity=name) for name in ("shapley", "lime"))
    total = sbsa(*given, sensitivity="sobol", samples=2**10)
    torch.testing.assert_close(value, products, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(coefficient, products, rtol=0.01, atol=1e-3)
    order = products.abs().argsort(1)
    assert all(torch.equal(maps.abs().argsort(1), order) for maps in (value, coefficient, total))


def test_a_linear_model_is_decomposed_by_squares() -> None:
    """Its indices are (wᵢ xᵢ)² / Σ (wₖ xₖ)², of either order, and its mean effects wᵢ xᵢ."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3).double()
    inputs, targets = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    products = inputs * model.weight.detach()[targets]
    shares = products**2 / (products**2).sum(1, keepdim=True)
    for index in ("first", "total"):
        found = sobol_sbsa(model, inputs, targets, index=index, samples=2**12)
        torch.testing.assert_close(found, shares, rtol=0, atol=5e-3)
    found = morris_sbsa(model, inputs, targets, statistic="mean", samples=2)
    torch.testing.assert_close(found, products, rtol=1e-9, atol=1e-12)


def test_groups_are_halved_until_the_largest_regions_are_known() -> None:
    """Of 16 × 16 pixels on which four act, two by two against each other in one cell of 4 × 4."""
    weights = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    for place, weight in {(5, 6): 3.0, (5, 7): -3.0, (12, 1): 2.0, (13, 1): -2.0}.items():
        weights[0, 0][place] = weight
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 2).double())
    with torch.no_grad():
        model[1].weight.copy_(torch.cat([weights, 2 * weights]).flatten(1))
    given = (model, torch.ones(2, 1, 16, 16, dtype=torch.float64), torch.tensor([0, 1]))
    whole = sobol_sbsa(*given, regions="single")
    for method in (sobol_sbsa, sbsa):
        found = method(*given, regions="single", decide="top:4")
        acting = weights.expand_as(found) != 0
        torch.testing.assert_close(found[acting], whole[acting])
        assert not found[~acting].any()
        # Each input by itself, whatever it is together with.
        alone = method(given[0], given[1][1:], given[2][1:], regions="single", decide="top:4")
        torch.testing.assert_close(alone, found[1:], rtol=1e-12, atol=0)
    # Regions with one gain are another question, in which they cancel.
    coarse = sobol_sbsa(*given, cells=4)
    assert not coarse[:, :, 4:8, 4:8].any()
    for one in decisions(*given, regions="single", decide="top:4"):
        assert one.clear
        assert one.outputs < 0.2 * one.all_outputs


@pytest.mark.parametrize("regions", ["channels", "superpixels:5", "grid:3"])
def test_groups_are_of_any_regions(regions: str, images) -> None:
    """Where all regions are asked for, every one is by itself, and the maps are those without groups."""
    given = {"regions": regions, "samples": 2048}
    found, whole = sbsa(*images, **given, decide="above:0"), sbsa(*images, **given)
    assert (found - whole).abs().max() < 0.05 * whole.max()
    assert (found > 0).equal(whole > 0)


def test_parameters_that_do_not_fit_are_refused(images) -> None:
    with pytest.raises(ValueError, match="of sensitivity 'sobol', came 'third'"):
        sobol_sbsa(*images, index="third")
    with pytest.raises(ValueError, match="expected samples to be a power of two, came 50"):
        sobol_sbsa(*images, samples=50)
    with pytest.raises(ValueError, match="expected statistic 'magnitude', 'mean' or 'deviation', came"):
        morris_sbsa(*images, statistic="sigma")
    with pytest.raises(
        ValueError, match="morris_sbsa: expected samples of at least 2 for sensitivity 'morris'"
    ):
        morris_sbsa(*images, samples=1)
    with pytest.raises(ValueError, match=r"^sbsa: expected index 'coefficient' of sensitivity 'lime', came"):
        sbsa(*images, sensitivity="lime", index="total")
    with pytest.raises(ValueError, match=r"^sbsa: expected samples of at least 65 for sensitivity 'fast'"):
        sbsa(*images, sensitivity="fast", samples=64)
    with pytest.raises(ValueError, match=r"^sbsa: expected an even number of samples, came 9"):
        sbsa(*images, sensitivity="shapley", samples=9)
    with pytest.raises(ValueError, match=r"^sbsa: expected gain above 0, came 0"):
        sbsa(*images, gain=0)
    total = "expected index 'total' of sensitivity 'sobol' beside decide"
    with pytest.raises(ValueError, match=f"^sobol_sbsa: {total}, since .*, came 'first'"):
        sobol_sbsa(*images, index="first", decide="top:1")
    with pytest.raises(ValueError, match=f"^sbsa: {total}, since .*, came 'morris'"):
        sbsa(*images, sensitivity="morris", decide="top:1")
    with pytest.raises(
        ValueError, match=r"^sbsa: expected decide 'top:K' with K of 1 to 4, or .*, came 'top:5'"
    ):
        sbsa(*images, cells=2, decide="top:5")
    effect = {"sensitivity": "shapley", "index": "effect"}
    with pytest.raises(
        ValueError, match=r"^sbsa: expected index 'effect' of sensitivity 'shapley' for gains"
    ):
        sbsa(*images, correlation=0.5)
    with pytest.raises(ValueError, match=r"^sbsa: expected correlation of at least 0 and below 1, came 1$"):
        sbsa(*images, correlation=1.0, **effect)
    with pytest.raises(ValueError, match=r"^sbsa: expected regions that are beside each other where gains"):
        sbsa(*images, correlation=0.5, regions="channels", **effect)
    with pytest.raises(ValueError, match=r"^sbsa: expected regions that are the same for all inputs where"):
        sbsa(*images, correlation=0.5, regions="superpixels:3", **effect)


@pytest.mark.parametrize("regions", ["mask", "superpixels:3"])
def test_gains_of_regions_of_its_own_are_not_drawn_together_for_one_input_either(
    regions: str, images
) -> None:
    """What is asked of a batch does not depend on how many inputs are in it."""
    model, inputs, targets = images
    mask = torch.zeros(len(inputs), *inputs.shape[2:], dtype=torch.bool)
    mask[:, :3] = True
    subject = Subject("masked", model, inputs, targets, truth={"mask": mask})
    for count in (2, 1):
        with pytest.raises(ValueError, match=r"^sbsa: expected regions that are the same for all inputs"):
            sbsa(
                model, inputs[:count], targets[:count], sensitivity="shapley", index="effect",
                correlation=0.5, regions=regions, subject=subject,
            )  # fmt: skip
