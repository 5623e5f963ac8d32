"""Methods that show some regions and remove others, against brute force on small float64 networks."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Twice, smooth
from sklearn.linear_model import Ridge, lars_path
from torch import Tensor, nn
from torch.nn import functional

import xattr_check
from xattr_check import Store, Subject
from xattr_check.core.explainer import Explainer
from xattr_check.core.method import Method
from xattr_check.core.run import Run
from xattr_check.errors import Declined
from xattr_check.perturbation import inpaint
from xattr_methods import kernel_shap, lime, occlusion, rise, shapley
from xattr_methods.regions.kernel_shap import kernel_coalitions

GAMES = [shapley, kernel_shap]
SIDE = 8


class Function(nn.Module):
    """Columns (N, D) to two outputs: a function of the columns, and its double."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        value = self.function(inputs)
        return torch.stack([value, 2 * value], dim=1)


@pytest.fixture
def images() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = Twice(2).double().eval()
    return model, torch.randn(3, 2, SIDE, SIDE, dtype=torch.float64), torch.tensor([0, 2, 1])


def network(columns: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(columns)
        return smooth(columns, 2)


def grid(side: int, cells: int) -> Tensor:
    index = torch.arange(side) * cells // side
    return index[:, None] * cells + index


def value(
    model: nn.Module, x: Tensor, target: int, ids: Tensor, present: set[int], baseline: float = 0.0
) -> float:
    """The target's logit where only the present regions are there."""
    keep = torch.tensor([int(one) in present for one in ids.flatten()]).reshape(ids.shape)
    if x.ndim == 2:
        keep = keep[:, None]
    with torch.no_grad():
        return float(model(torch.where(keep, x, torch.full_like(x, baseline))[None])[0, target])


def brute_shapley(
    model: nn.Module, x: Tensor, target: int, ids: Tensor, baseline: float = 0.0
) -> list[float]:
    """Shapley's formula, coalition by coalition."""
    players = sorted(set(ids.flatten().tolist()))
    found = []
    for player in players:
        others = [one for one in players if one != player]
        total = 0.0
        for size in range(len(others) + 1):
            weight = 1 / (len(players) * math.comb(len(others), size))
            for some in itertools.combinations(others, size):
                gain = value(model, x, target, ids, {*some, player}, baseline)
                total += weight * (gain - value(model, x, target, ids, set(some), baseline))
        found.append(total)
    return torch.tensor(found, dtype=torch.float64)


def by_region(maps: Tensor, ids: Tensor) -> Tensor:
    """(N, R): sums of maps over regions."""
    flat = maps.reshape(len(maps), -1)
    return torch.stack([flat[:, (ids == one).flatten()].sum(1) for one in ids.unique()], dim=1)


@pytest.mark.parametrize("method", GAMES)
def test_all_coalitions_give_the_exact_values_of_regions(method: Method, images) -> None:
    model, inputs, targets = images
    ids = grid(SIDE, 2) * 7 - 3  # ids may be any numbers
    ids[0, 0] = 50
    slow = torch.stack(
        [brute_shapley(model, x, int(t), ids, 0.3) for x, t in zip(inputs, targets, strict=True)]
    )
    found = method(model, inputs, targets, regions=ids, baseline=0.3)
    assert found.shape == (3, 1, SIDE, SIDE)
    torch.testing.assert_close(by_region(found, ids), slow, rtol=1e-8, atol=1e-10)
    for one in ids.unique():  # evenly
        inside = found[:, 0][:, ids == one]
        torch.testing.assert_close(inside, inside[:, :1].expand_as(inside))


@pytest.mark.parametrize("method", GAMES)
def test_all_coalitions_give_the_exact_values_of_columns_and_tokens(method: Method) -> None:
    model, x = network(5), torch.randn(2, 5, dtype=torch.float64)
    slow = torch.stack([brute_shapley(model, row, 1, torch.arange(5)) for row in x])
    found = method(model, x, torch.tensor([1, 1]))
    torch.testing.assert_close(found, slow, rtol=1e-8, atol=1e-10)
    sequence = nn.Sequential(nn.Flatten(), network(8)).double()
    x = torch.randn(2, 4, 2, dtype=torch.float64)
    slow = torch.stack([brute_shapley(sequence, row, 0, torch.arange(4)) for row in x])
    found = method(sequence, x, torch.tensor([0, 0]), layout="embeddings")
    assert found.shape == (2, 4, 1)
    torch.testing.assert_close(found[..., 0], slow, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", [*GAMES, lime])
def test_regions_may_differ_between_inputs(method: Method, images) -> None:
    model, inputs, targets = images
    ids = torch.stack([grid(SIDE, 2), grid(SIDE, 2).flip(0), grid(SIDE, 2) % 3])  # the last has only three
    maps = method(model, inputs, targets, regions=ids)
    for row in range(2):
        alone = method(model, inputs[row : row + 1], targets[row : row + 1], regions=ids[row])
        torch.testing.assert_close(maps[row : row + 1], alone, rtol=1e-8, atol=1e-10)
    if method is not lime:  # whose ridge draws on the number of regions
        alone = method(model, inputs[2:], targets[2:], regions=ids[2:])
        torch.testing.assert_close(maps[2:], alone, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("method", "columns", "parameters"),
    [
        (shapley, 6, {"exact": 0, "permutations": 7}),
        (shapley, 6, {"exact": 0, "permutations": 6, "antithetic": False}),
        # The fit's bias, of the order of 1 / samples, is far below its error here.
        (kernel_shap, 12, {"samples": 1000}),
    ],
)
def test_samples_are_unbiased_over_seeds(method: Method, columns: int, parameters: dict[str, int]) -> None:
    model, x = network(columns), torch.randn(1, columns, dtype=torch.float64)
    target, seeds = torch.tensor([0]), 100
    exact = shapley(model, x, target)
    drawn = torch.cat([method(model, x, target, seed=seed, **parameters) for seed in range(seeds)])
    assert float(drawn.std(0).max()) > 1e-4
    error = drawn.std(0) / math.sqrt(seeds)
    assert bool(((drawn.mean(0) - exact[0]).abs() < 4.5 * error).all())
    torch.testing.assert_close(drawn.sum(1), exact.sum(1).expand(seeds), rtol=1e-9, atol=1e-9)


@given(st.integers(2, 20), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_additive_games_are_exact_with_any_samples(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    slopes = torch.randn(count, generator=generator, dtype=torch.float64)
    model = Function(lambda x: (slopes * x.sin()).sum(1) + 3)
    x = torch.randn(2, count, generator=generator, dtype=torch.float64)
    expected = torch.tensor([[1.0], [2.0]]) * slopes * x.sin()
    targets = torch.tensor([0, 1])
    for found in (
        shapley(model, x, targets, permutations=1, exact=0, seed=seed),
        kernel_shap(model, x, targets, samples=10 * count, seed=seed),
        lime(model, x, targets, samples=8 * count, penalty=1e-12, seed=seed),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", GAMES)
@given(seed=st.integers(0, 999), count=st.integers(2, 16))
@settings(max_examples=10, deadline=None)
def test_axioms_of_the_value(method: Method, seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randn(2, count, count, generator=generator, dtype=torch.float64)
    pairs[:, 0] = pairs[:, :, 0] = 0  # the first column is a dummy
    x = torch.randn(3, count, generator=generator, dtype=torch.float64)
    targets = torch.zeros(3, dtype=torch.int64)
    games = [Function(lambda x, p=p: torch.einsum("ni,ij,nj->n", x, p, x)) for p in pairs]
    both = Function(lambda x: games[0].function(x) - 3 * games[1].function(x))
    maps = [method(game, x, targets, baseline=0.5) for game in (*games, both)]
    torch.testing.assert_close(maps[2], maps[0] - 3 * maps[1], rtol=1e-7, atol=1e-8)  # linear in the game
    if count <= 11:  # where both are exact
        assert float(maps[0][:, 0].abs().max()) < 1e-9
        order = torch.randperm(count, generator=generator)
        swapped = Function(lambda x: games[0].function(x[:, order.argsort()]))
        torch.testing.assert_close(
            method(swapped, x[:, order], targets, baseline=0.5), maps[0][:, order], rtol=1e-7, atol=1e-8
        )
    with torch.no_grad():
        change = both(x)[:, 0] - both(torch.full_like(x, 0.5))[:, 0]
    torch.testing.assert_close(maps[2].sum(1), change, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("method", GAMES)
def test_completeness_on_images_with_sampled_coalitions(method: Method, images) -> None:
    model, inputs, targets = images
    baseline = torch.randn(1, 2, 1, 1, dtype=torch.float64)
    found = method(model, inputs, targets, baseline=baseline, cells=4).flatten(1).sum(1)
    with torch.no_grad():
        change = (model(inputs) - model(baseline.expand_as(inputs))).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(found, change, rtol=1e-9, atol=1e-10)


def test_probability_is_explained_where_it_is_asked_for(images) -> None:
    model, inputs, targets = images
    found = shapley(model, inputs, targets, cells=2, output="probability")
    soft = shapley(nn.Sequential(model, nn.Softmax(1)), inputs, targets, cells=2)
    torch.testing.assert_close(found, soft, rtol=1e-10, atol=1e-12)


@given(st.integers(2, 13))
@settings(deadline=None, max_examples=12)
def test_kernel_coalitions_are_all_of_them_where_they_fit(count: int) -> None:
    coalitions, weights = kernel_coalitions(count, 2**count - 2, torch.Generator())
    assert len(coalitions) == len(coalitions.unique(dim=0)) == 2**count - 2
    sizes = coalitions.sum(1)
    kernel = torch.tensor(
        [(count - 1) / (math.comb(count, s) * s * (count - s)) for s in sizes.tolist()], dtype=torch.float64
    )
    torch.testing.assert_close(weights, kernel / kernel.sum())


def test_drawn_coalitions_come_in_pairs_with_the_weight_of_the_kernel() -> None:
    count, samples = 20, 500
    coalitions, weights = kernel_coalitions(count, samples, torch.Generator().manual_seed(0))
    assert abs(len(coalitions) - samples) <= 2
    assert float(weights.sum()) == pytest.approx(1)
    rows = [tuple(row) for row in coalitions.tolist()]
    assert sorted(rows) == sorted(tuple(not one for one in row) for row in rows)
    sizes = coalitions.sum(1)
    assert ((sizes > 0) & (sizes < count)).all()
    shares = 1 / (torch.arange(1, count) * (count - torch.arange(1, count)))
    one = weights[(sizes == 1) | (sizes == count - 1)].sum()
    assert float(one) == pytest.approx(float(2 * shares[0] / shares.sum()))  # taken, not drawn


def test_lime_is_the_ridge_regression_of_scikit_learn(images) -> None:
    model, inputs, targets = images
    ids = grid(SIDE, 3)
    found = lime(model, inputs, targets, cells=3, samples=60, width=0.4, penalty=0.7, baseline=-0.2, seed=5)
    drawn = torch.rand(60, 9, generator=torch.Generator().manual_seed(5), dtype=torch.float64) < 0.5
    drawn[0] = True
    distance = [1 - float(row.sum()) / math.sqrt(max(1, int(row.sum())) * 9) for row in drawn.double()]
    weights = [math.sqrt(math.exp(-(d**2) / 0.4**2)) for d in distance]
    for row, (x, target) in enumerate(zip(inputs, targets, strict=True)):
        outputs = [
            value(model, x, int(target), ids, set(some.nonzero().flatten().tolist()), -0.2) for some in drawn
        ]
        fitted = Ridge(alpha=0.7).fit(drawn.double().numpy(), outputs, sample_weight=weights)
        slow = torch.from_numpy(fitted.coef_)
        torch.testing.assert_close(by_region(found[row : row + 1], ids)[0], slow, rtol=1e-8, atol=1e-10)


def authors_selection(design: np.ndarray, outputs: list[float], weights: np.ndarray, most: int) -> np.ndarray:
    """`lasso_path` of the authors' code: centred, scaled by roots of weights, then from the path's end."""
    centred = design - np.average(design, axis=0, weights=weights)
    values = np.array(outputs) - np.average(outputs, weights=weights)
    roots = np.sqrt(weights)
    _, _, path = lars_path(centred * roots[:, None], values * roots, method="lasso")
    chosen = np.arange(design.shape[1])
    for step in range(path.shape[1] - 1, 0, -1):
        chosen = path.T[step].nonzero()[0]
        if len(chosen) <= most:
            break
    return chosen


@pytest.mark.parametrize("features", [1, 3, 8, 9, 20])
def test_lime_of_a_few_features_is_that_of_its_authors(features: int, images) -> None:
    model, inputs, targets = images
    ids = grid(SIDE, 3)
    found = lime(model, inputs, targets, cells=3, samples=40, penalty=0.7, features=features, seed=5)
    drawn = torch.rand(40, 9, generator=torch.Generator().manual_seed(5), dtype=torch.float64) < 0.5
    drawn[0] = True
    design = drawn.double().numpy()
    weights = np.exp(-((1 - np.sqrt(design.mean(1))) ** 2) / (2 * 0.25**2))
    for row, (x, target) in enumerate(zip(inputs, targets, strict=True)):
        outputs = [
            value(model, x, int(target), ids, set(some.nonzero().flatten().tolist())) for some in drawn
        ]
        slow = torch.zeros(9, dtype=torch.float64)
        chosen = authors_selection(design, outputs, weights, features)
        fitted = Ridge(alpha=0.7).fit(design[:, chosen], outputs, sample_weight=weights)
        slow[chosen] = torch.from_numpy(fitted.coef_)
        sums = by_region(found[row : row + 1], ids)[0]
        assert int((sums != 0).sum()) == len(chosen) <= features
        torch.testing.assert_close(sums, slow, rtol=1e-8, atol=1e-10)


def test_lime_finds_the_few_columns_that_matter() -> None:
    """Of twelve, the two that anything depends on; of an output that never changes, none."""
    model = Function(lambda x: 3 * x[:, 4] - 2 * x[:, 7] + 0.01 * x[:, 0])
    x = torch.ones(2, 12, dtype=torch.float64)
    x[1] = 0
    found = lime(model, x, torch.tensor([0, 0]), samples=200, features=2)
    assert found[0].nonzero().flatten().tolist() == [4, 7]
    assert found[1].tolist() == [0] * 12


BACKGROUND = [
    (shapley, {"cells": 2}),
    (shapley, {"cells": 2, "exact": 0, "permutations": 3}),
    (kernel_shap, {"cells": 2}),
    (lime, {"cells": 2, "samples": 20}),
    (lime, {"cells": 2, "samples": 20, "features": 4}),
    (occlusion, {"regions": "grid:2"}),
    (occlusion, {"window": 4, "stride": 2}),
]


@pytest.mark.parametrize(("method", "parameters"), BACKGROUND)
def test_outputs_are_averaged_over_a_background(method: Method, parameters: dict[str, Any], images) -> None:
    """Maps are linear in outputs, so that they are the mean of those with each baseline by itself."""
    model, inputs, targets = images
    background = torch.randn(4, 2, SIDE, SIDE, dtype=torch.float64)
    found = method(model, inputs, targets, background=background, **parameters)
    each = [method(model, inputs, targets, baseline=row, **parameters) for row in background]
    torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", GAMES)
def test_values_over_a_background_add_up_to_the_change_from_it(method: Method, images) -> None:
    model, inputs, targets = images
    background = torch.randn(5, 2, SIDE, SIDE, dtype=torch.float64)
    found = method(model, inputs, targets, cells=2, background=background, output="probability")
    with torch.no_grad():
        outputs, expected = model(inputs).softmax(1), model(background).softmax(1).mean(0)
    change = outputs.gather(1, targets[:, None])[:, 0] - expected[targets]
    torch.testing.assert_close(found.sum((1, 2, 3)), change, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", [*GAMES, lime, occlusion])
def test_a_background_of_the_data(method: Method, images) -> None:
    model, inputs, targets = images
    subject = Subject("s", model, torch.randn(6, 2, SIDE, SIDE, dtype=torch.float64), torch.zeros(6).long())
    few = {"regions": "grid:2", "background": "data", "backgrounds": 4, "seed": 3, "subject": subject}
    found = method(model, inputs, targets, **few)
    drawn = subject.inputs[torch.randperm(6, generator=torch.Generator().manual_seed(3))[:4]]
    given = method(model, inputs, targets, regions="grid:2", background=drawn, seed=3)
    assert torch.equal(found, given)
    alone = method(model, inputs[1:2], targets[1:2], **few)
    torch.testing.assert_close(found[1:2], alone, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", [*GAMES, lime, occlusion])
def test_what_a_background_leaves_unread_is_told(method: Method, images) -> None:
    both = "expected a baseline or a background, in whose place it is, came both, baseline 0.5$"
    with pytest.raises(ValueError, match=f"^{method.name}: {both}"):
        method(*images, baseline=0.5, background=torch.zeros(3, 2, SIDE, SIDE))
    alone = "expected background='data' beside backgrounds=4, came none$"
    with pytest.raises(ValueError, match=f"^{method.name}: {alone}"):
        method(*images, backgrounds=4)
    with pytest.raises(ValueError, match=r"beside backgrounds=4, came 'inpainted'$"):
        method(*images, background="inpainted", backgrounds=4)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Images that a network learns in four steps from each half of."""
    monkeypatch.setattr(inpaint, "STEPS", 4)
    torch.manual_seed(0)
    inputs = torch.randn(40, 2, SIDE, SIDE, dtype=torch.float64)
    return Subject("taught", Twice(2).double().eval(), inputs, torch.arange(40) % 3)


def test_what_is_absent_is_guessed_from_the_rest(taught: Subject) -> None:
    """Window by window, each image filled by the network that has not seen it."""
    some = torch.tensor([3, 17, 30])
    inputs, targets = taught.inputs[some], taught.targets[some]
    found = occlusion(taught.model, inputs, targets, regions="grid:2", background="inpainted", subject=taught)
    index = grid(SIDE, 2)
    half = inpaint.half_of(taught, some, 0)
    for place, (image, target) in enumerate(zip(inputs, targets, strict=True)):
        for region in range(4):
            keep = (index != region)[None, None]
            filled = inpaint.inpaint(
                taught, image[None], half[place : place + 1], keep, torch.tensor([0]), 0, None
            )
            torch.testing.assert_close(filled[:, :, index != region], image[None][:, :, index != region])
            with torch.no_grad():
                drop = taught.model(torch.stack([image, filled[0]]))[:, target]
            cell = found[place, 0][index == region]
            torch.testing.assert_close(cell, (drop[0] - drop[1]).expand_as(cell))


@pytest.mark.parametrize("method", [*GAMES, lime, occlusion])
def test_guesses_depend_on_no_other_input_and_are_learned_once_in_a_run(
    method: Method, taught: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"regions": "grid:2", "background": "inpainted"}
    given = (taught.model, taught.inputs[:3], taught.targets[:3])
    by_hand = method(*given, subject=taught, **few)
    alone = method(taught.model, taught.inputs[1:2], taught.targets[1:2], subject=taught, **few)
    torch.testing.assert_close(by_hand[1:2], alone, rtol=1e-8, atol=1e-10)
    asked = method.with_parameters(method.name, few)
    in_a_run = Explainer.of(asked, taught, Run(store=Store(tmp_path)))(*given)
    torch.testing.assert_close(in_a_run, by_hand)
    monkeypatch.setattr(inpaint, "learned", None)  # the next run has it from the store
    again = Explainer.of(asked, taught, Run(store=Store(tmp_path)))(*given)
    assert torch.equal(again, in_a_run)
    # By hand it is kept with the subject.
    assert torch.equal(method(*given, subject=taught, **few), by_hand)


def test_other_images_are_guessed_too(taught: Subject) -> None:
    found = occlusion(
        taught.model, taught.inputs[:2] + 1, taught.targets[:2], background="inpainted", subject=taught
    )
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("method", [*GAMES, lime, occlusion])
def test_where_nothing_can_be_guessed(method: Method, taught: Subject, images) -> None:
    with pytest.raises(Declined, match=f"^{method.name}: inpainting learns .* 32 inputs at least, came 3$"):
        method(*images, background="inpainted", subject=Subject("s", *images))


def test_what_is_guessed_of_pixels_is_no_background_of_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inpaint, "STEPS", 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    subject = Subject("s", model, torch.randn(32, 3, SIDE, SIDE), torch.zeros(32).long())
    with pytest.raises(Declined, match="expected regions of pixels for what is guessed"):
        occlusion(
            model, subject.inputs[:1], subject.targets[:1], regions="colour", background="inpainted",
            subject=subject,
        )  # fmt: skip


class Scaled(nn.Module):
    """A model whose outputs are multiplied by another input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, scale: Tensor) -> Tensor:
        found: Tensor = scale[:, None] * self.model(inputs)
        return found


@pytest.mark.parametrize("method", [*GAMES, lime, occlusion])
def test_a_background_that_does_not_fit_is_told(method: Method, images) -> None:
    name = method.name
    wanted = rf"^{name}: expected background 'data', 'inpainted' or inputs \(B, 2, 8, 8\) with B ≥ 1, came "
    for background, came in (
        (torch.zeros(3, 2, 8, 7), r"\(3, 2, 8, 7\)$"),
        (torch.zeros(0, 2, 8, 8), r"\(0, 2, 8, 8\)$"),
        ("noise", "'noise'$"),
        ("data", "'data' and no subject whose inputs these are$"),
        ("inpainted", "'inpainted' and no subject whose inputs these are$"),
    ):
        with pytest.raises(ValueError, match=wanted + came):
            method(*images, background=background)
    broken = torch.zeros(3, 2, 8, 8)
    broken[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match=f"^{name}: expected background to be finite, came 1 of 384 values"):
        method(*images, background=broken)
    with pytest.raises(ValueError, match=f"^{name}: expected backgrounds of at least 1, came 0"):
        method(*images, background="data", backgrounds=0, subject=Subject("s", *images))
    beside = Subject("s", Scaled(images[0]), *images[1:], context={"scale": torch.ones(3)})
    with pytest.raises(Declined, match=f"^{name}: inputs that come with others, as texts, are no background"):
        method(*images, background="data", subject=beside)
    # Tokens come with a baseline that nobody asked for.
    given = {"baseline": torch.zeros(3, 2, 8, 8), "subject": beside}
    with pytest.raises(Declined, match=f"^{name}: inputs that come with others, as texts, are no background"):
        method(*images, background="data", **given)
    with pytest.raises(Declined, match=f"^{name}: inpainting learns from half of the inputs"):
        method(*images, background="inpainted", **given)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [(shapley, {"permutations": 4}), (kernel_shap, {"samples": 80}), (lime, {"samples": 50})],
)
def test_no_coalition_is_evaluated_twice(method: Method, parameters: dict[str, int], images) -> None:
    model, inputs, targets = images
    method(model, inputs, targets, cells=4, **parameters)  # the probe
    seen: list[Tensor] = []
    handle = model.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    found = method(model, inputs, targets, cells=4, **parameters)
    handle.remove()
    rows = torch.cat(seen).flatten(1)
    # The input without any region is the same for all three.
    assert len(rows.unique(dim=0)) in (len(rows), len(rows) - 2)
    assert len(rows) <= 3 * {shapley: 4 * 15 + 2, kernel_shap: 82, lime: 50}[method]
    small = method(model, inputs, targets, cells=4, memory=1, **parameters)
    torch.testing.assert_close(found, small, rtol=1e-10, atol=1e-12)


def rise_masks(count: int, side: int, cells: int, keep: float, seed: int) -> Tensor:
    """Cell by cell: enlarge by one cell more than the image has, cut out at a random place."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.rand(count, cells, cells, generator=generator, dtype=torch.float64) < keep
    cell = math.ceil(side / cells)
    down, across = (torch.randint(cell, (count,), generator=generator).tolist() for _ in range(2))
    size = ((cells + 1) * cell,) * 2
    found = []
    for bit, top, left in zip(bits.double(), down, across, strict=True):
        large = functional.interpolate(bit[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        found.append(large[top : top + side, left : left + side])
    return torch.stack(found)


@pytest.mark.parametrize("centred", [False, True])
def test_rise_is_the_mean_of_masks_weighted_by_the_output(centred: bool, images) -> None:
    model, inputs, targets = images
    masks = rise_masks(30, SIDE, 3, 0.3, seed=4)
    assert 0 <= masks.min() < 0.2 < 0.8 < masks.max() <= 1
    rows = []
    for x, target in zip(inputs, targets, strict=True):
        with torch.no_grad():
            seen = [model((0.1 + mask * (x - 0.1))[None]).softmax(1)[0, target] for mask in masks]
        mean = sum(seen) / 30 if centred else 0.0
        rows.append(sum((out - mean) * mask for out, mask in zip(seen, masks, strict=True)) / (30 * 0.3))
    parameters = {"masks": 30, "cells": 3, "keep": 0.3, "baseline": 0.1, "seed": 4, "centred": centred}
    for memory in (2**28, 2**12):
        found = rise(model, inputs, targets, memory=memory, **parameters)
        torch.testing.assert_close(found[:, 0], torch.stack(rows), rtol=1e-8, atol=1e-10)


def test_rise_masks_have_the_same_mean_everywhere() -> None:
    masks = rise_masks(20000, SIDE, 3, 0.3, seed=0)
    assert float((masks.mean(0) - 0.3).abs().max()) < 4.5 * float(masks.std(0).max()) / math.sqrt(20000)


def test_rise_of_columns_is_unbiased() -> None:
    slopes = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    model = Function(lambda x: x @ slopes)
    x, targets = torch.randn(2, 4, dtype=torch.float64), torch.tensor([0, 1])
    parts = torch.tensor([[1.0], [2.0]]) * slopes * x
    # Given that column i is kept: all of its part, and the share that is kept of the others.
    expected = parts + 0.4 * (parts.sum(1, keepdim=True) - parts)
    drawn = torch.stack(
        [rise(model, x, targets, masks=50, keep=0.4, output="logit", seed=seed) for seed in range(300)]
    )
    error = drawn.std(0) / math.sqrt(300)
    assert bool(((drawn.mean(0) - expected).abs() < 4.5 * error).all())
    centred = rise(model, x, targets, masks=20000, keep=0.4, output="logit", centred=True)
    torch.testing.assert_close(centred, 0.6 * parts, rtol=0.1, atol=0.1)
    tokens = torch.randn(2, 5, 3)
    assert rise(nn.Flatten(), tokens, targets, masks=9, layout="embeddings").shape == (2, 5, 1)


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (3, 2), (4, 4), (8, 1)])
def test_occlusion_windows_one_by_one(window: int, stride: int, images) -> None:
    model, inputs, targets = images
    total, cover = torch.zeros(SIDE, SIDE).double(), torch.zeros(SIDE, SIDE).double()
    places = torch.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    everywhere = set(range(SIDE * SIDE))
    whole = value(model, inputs[1], int(targets[1]), places, everywhere)
    for top in range(stride - window, SIDE, stride):
        for left in range(stride - window, SIDE, stride):
            inside = places[max(0, top) : top + window, max(0, left) : left + window]
            shown = everywhere - set(inside.flatten().tolist())
            hidden = torch.isin(places, inside.contiguous())
            total[hidden] += whole - value(model, inputs[1], int(targets[1]), places, shown, 0.5)
            cover[hidden] += 1
    found = occlusion(model, inputs, targets, window=window, stride=stride, baseline=0.5)
    torch.testing.assert_close(found[1, 0], total / cover, rtol=1e-8, atol=1e-10)
    small = occlusion(model, inputs, targets, window=window, stride=stride, baseline=0.5, memory=1)
    torch.testing.assert_close(found, small, rtol=1e-10, atol=1e-12)


def test_occlusion_of_regions_one_by_one(images) -> None:
    model, inputs, targets = images
    ids = torch.stack([grid(SIDE, 2), grid(SIDE, 3), grid(SIDE, 2).flip(1) % 3])
    found = occlusion(model, inputs, targets, regions=ids)
    for x, target, index, one in zip(inputs, targets, ids, found, strict=True):
        players = set(index.flatten().tolist())
        for player in players:
            drop = value(model, x, int(target), index, players)
            drop -= value(model, x, int(target), index, players - {player})
            inside = one[0][index == player]
            torch.testing.assert_close(inside, torch.full_like(inside, drop), rtol=1e-8, atol=1e-10)
    single = occlusion(model, inputs, targets, regions="single")
    torch.testing.assert_close(single, occlusion(model, inputs, targets, window=1, stride=1))
    tokens = torch.randn(2, 5, 2, dtype=torch.float64)
    ids = torch.tensor([0, 0, 1, 1, 2])
    grouped = occlusion(nn.Flatten(), tokens, targets[:2], regions=ids, layout="embeddings")
    assert torch.equal(
        grouped[0, :, 0], tokens[0, 0, 0] * torch.tensor([1.0, 1, 0, 0, 0], dtype=torch.float64)
    )


def test_occlusion_and_rise_say_what_does_not_fit(images) -> None:
    with pytest.raises(ValueError, match="occlusion: expected regions or window and stride, came both"):
        occlusion(*images, regions="grid", window=2)
    with pytest.raises(ValueError, match="occlusion: expected a stride of at most the window 2, came 3"):
        occlusion(*images, window=2, stride=3)
    with pytest.raises(ValueError, match="occlusion: expected window of at least 1, came 0"):
        occlusion(*images, window=0)
    with pytest.raises(ValueError, match=r"rise: expected keep between 0 and 1, came 1\.5"):
        rise(*images, keep=1.5)
    with pytest.raises(ValueError, match="rise: expected masks of at least 1, came 0"):
        rise(*images, masks=0)


@pytest.mark.parametrize("method", [*GAMES, lime, occlusion, rise])
def test_what_cannot_be_explained_is_said(method: Method, images) -> None:
    model, inputs, targets = images
    name = method.name
    with pytest.raises(ValueError, match=rf"{name}: expected inputs .*, came \(3, 2, 8, 8, 1, 1\)"):
        method(model, inputs[..., None, None], targets)
    with pytest.raises(ValueError, match=f"{name}: expected output 'logit' or 'probability', came 'softmax'"):
        method(model, inputs, targets, output="softmax")
    if method is rise:
        return
    with pytest.raises(
        ValueError, match=f"{name}: expected regions 'grid', 'single', .* or a tensor, came 'slic'"
    ):
        method(model, inputs, targets, regions="slic")
    with pytest.raises(ValueError, match=rf"{name}: expected regions of whole .*\(2, 8, 8\)"):
        method(model, inputs, targets, regions=torch.zeros(2, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match=f"{name}: expected regions of whole numbers .* torch.float32"):
        method(model, inputs, targets, regions=torch.zeros(8, 8))
    with pytest.raises(ValueError, match=f"{name}: expected cells of at least 1, came 0"):
        method(model, inputs, targets, regions="grid", cells=0)


def test_too_few_samples_are_refused(images) -> None:
    with pytest.raises(ValueError, match="shapley: expected permutations of at least 1, came 0"):
        shapley(*images, permutations=0)
    with pytest.raises(ValueError, match="kernel_shap: expected samples of at least 256, came 100"):
        kernel_shap(*images, samples=100)
    # Two of the columns are present together, or not at all, in all that is drawn.
    with pytest.raises(ValueError, match="the 48 coalitions drawn do not tell the 12 regions apart; take"):
        kernel_shap(network(12), torch.ones(1, 12).double(), torch.tensor([0]), samples=48, seed=95)
    with pytest.raises(ValueError, match="lime: expected samples of at least 2, came 1"):
        lime(*images, samples=1)


@pytest.mark.parametrize("name", ["meaningful_perturbation", "extremal_perturbation"])
@pytest.mark.parametrize("blur", [0.0, -1.0, float("nan")])
def test_no_blur_is_refused(name: str, blur: float) -> None:
    images, targets = torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(ValueError, match=f"{name}: expected blur above 0, came"):
        xattr_check.methods()[name](model, images, targets, blur=blur)


@pytest.mark.parametrize("count", [2.5, "2", True])
def test_features_and_backgrounds_are_counted(count: object) -> None:
    model, x, targets = nn.Linear(4, 2), torch.rand(3, 4), torch.tensor([0, 1, 0])
    data = {"background": "data", "subject": Subject("lines", model, x, targets)}
    for options in ({"features": count}, {**data, "backgrounds": count}):
        with pytest.raises(ValueError, match=rf"lime: expected \w+ to be a whole number, came {count!r}"):
            lime(model, x, targets, **options)
