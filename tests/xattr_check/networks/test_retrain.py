"""Networks trained side by side are those trained alone by a plain loop; pools and recipes that cannot be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from subjects import images
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Store, Subject
from xattr_check.core.recipe import Recipe
from xattr_check.core.run import Run
from xattr_check.errors import Invalid, Undefined
from xattr_check.networks.retrain import Networks, Retrainable, retrainable

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(store=Store(tmp_path))


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2), nn.GroupNorm(1, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3)
    )


def bars(count: int, seed: int) -> dict[str, Tensor]:
    """Noise images (N, 1, 8, 8) with a bright row at one of three heights, which is the target."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    inputs = 0.5 * torch.randn(count, 1, 8, 8, generator=generator)
    inputs[torch.arange(count), 0, 2 * targets + 1] += 2
    return {"inputs": inputs, "targets": targets}


def recipe(**options: object) -> Recipe:
    return replace(Recipe(small, lambda: bars(96, 0), epochs=6, batch=32, rate=1e-2), **options)


def versions(inputs: Tensor) -> Tensor:
    """(3, N, 1, 8, 8): as they are, without their left half, and upside down."""
    half = inputs.clone()
    half[..., :4] = 0
    return torch.stack([inputs, half, inputs.flip(2)])


def alone(recipe: Recipe, seed: int, inputs: Tensor, targets: Tensor, order: int) -> nn.Module:
    """One network, with its own optimizer."""
    torch.manual_seed(seed)
    network = recipe.network()
    steps = recipe.epochs * -(-len(targets) // recipe.batch)
    if recipe.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), recipe.rate, recipe.momentum)
    else:
        optimizer = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.decay)
    if recipe.one_cycle:
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.rate, steps, pct_start=0.2, cycle_momentum=False
        )
    generator = torch.Generator().manual_seed(order)
    for _ in range(recipe.epochs):
        parts = list(torch.randperm(len(targets), generator=generator).split(recipe.batch))
        if len(parts[-1]) == 1:
            parts = [*parts[:-2], torch.cat(parts[-2:])]
        for rows in parts:
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            if recipe.one_cycle:
                cycle.step()
    return network


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "one_cycle": False}, {"decay": 0.1}])
def test_side_by_side_is_one_after_the_other(options: dict[str, object]) -> None:
    how, pool, seeds = recipe(**options), bars(96, 0), (5, 6, 5)
    seen, judged = versions(pool["inputs"]), versions(bars(50, 1)["inputs"])
    networks = Networks(how, seeds, CPU)
    networks.train(lambda rows: seen[:, rows], pool["targets"], order=7)
    with torch.no_grad():
        found = networks(judged)
    for number, seed in enumerate(seeds):
        one = alone(how, seed, seen[number], pool["targets"], order=7)
        assert torch.allclose(found[number], one(judged[number]), atol=1e-3), number


@pytest.mark.gpu
def test_a_gpu_trains_as_a_cpu_does() -> None:
    how, pool, judged = recipe(), bars(96, 0), bars(50, 1)
    logits = []
    for device in (CPU, torch.device("cuda")):
        seen = versions(pool["inputs"]).to(device)
        networks = Networks(how, (5, 6, 5), device)
        networks.train(lambda rows, seen=seen: seen[:, rows], pool["targets"].to(device), order=7)
        with torch.no_grad():
            logits.append(networks(versions(judged["inputs"]).to(device)).cpu())
    assert torch.allclose(*logits, atol=0.02)


def test_stacked_parameters_and_turns_give_the_same_outputs() -> None:
    """What a GPU computes, on the CPU."""
    networks = Networks(recipe(), (1, 2, 3), CPU)
    inputs = versions(bars(20, 1)["inputs"])
    with torch.no_grad():
        stacked = torch.func.vmap(networks._logits)(networks.parameters, networks.buffers, inputs)
        assert torch.allclose(networks(inputs), stacked, atol=1e-5)


def test_what_is_learned_is_found_again() -> None:
    pool, judged = bars(96, 0), bars(200, 1)
    networks = Networks(recipe(epochs=20), (1, 2), CPU)
    networks.train(lambda rows: pool["inputs"][rows].expand(2, -1, -1, -1, -1), pool["targets"], order=0)
    correct = networks.correct(
        lambda rows: judged["inputs"][rows].expand(2, -1, -1, -1, -1), judged["targets"]
    )
    assert correct.shape == (2, 200)
    assert (correct.double().mean(1) > 0.95).all()
    with torch.no_grad():
        named = networks(judged["inputs"].expand(2, -1, -1, -1, -1)).argmax(2)
    assert torch.equal(correct, named == judged["targets"])


def test_a_shift_rolls_images_within_its_bounds() -> None:
    seen: list[Tensor] = []

    class Watching(nn.Flatten):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs.detach().clone())
            return super().forward(inputs)

    image = torch.zeros(8, 1, 8, 8)
    image[:, :, 4, 4] = 1
    how = recipe(network=lambda: nn.Sequential(Watching(), nn.Linear(64, 3)), shift=2, epochs=40, batch=8)
    Networks(how, [0], CPU).train(lambda rows: image[rows][None], torch.zeros(8, dtype=torch.int64), order=0)
    places = {tuple(one[0, 0].nonzero()[0].tolist()) for one in seen}
    assert places <= {(row, column) for row in range(2, 7) for column in range(2, 7)}
    assert len(places) > 10
    assert all(torch.equal(one, one[:1].expand_as(one)) for one in seen)


def test_training_leaves_the_generators_alone() -> None:
    before = torch.get_rng_state()
    pool = bars(96, 0)
    networks = Networks(recipe(network=lambda: nn.Sequential(small(), nn.Dropout(0.5))), [0], CPU)
    networks.train(lambda rows: pool["inputs"][rows][None], pool["targets"], order=0)
    assert torch.equal(torch.get_rng_state(), before)


class Normalised(nn.Module):
    """A network with BatchNorm before and behind what is flat."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU())
        self.behind = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36, momentum=0.3), nn.Linear(36, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.behind(self.before(inputs))
        return logits


def test_statistics_are_those_of_each_network_s_own_training() -> None:
    how, pool, seeds = recipe(network=Normalised), bars(97, 0), (5, 6, 5)
    seen, judged = versions(pool["inputs"]), versions(bars(50, 1)["inputs"])
    networks = Networks(how, seeds, CPU)
    networks.train(lambda rows: seen[:, rows], pool["targets"], order=7)
    before = {name: value.clone() for name, value in networks.buffers.items()}
    with torch.no_grad():
        found, few = networks(judged), networks(judged[:, :1])
    torch.testing.assert_close(few, found[:, :1], rtol=1e-4, atol=1e-4)  # they are tied to no batch
    assert all(torch.equal(value, before[name]) for name, value in networks.buffers.items())
    for number, seed in enumerate(seeds):
        one = alone(how, seed, seen[number], pool["targets"], order=7).eval()
        for name, value in one.named_buffers():
            torch.testing.assert_close(networks.buffers[name][number], value, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found[number], one(judged[number]), rtol=0, atol=5e-3)


def test_stacked_networks_with_batch_norm_are_trained_alike() -> None:
    """What a GPU computes, on the CPU: one step of each network, and its statistics."""
    inputs = versions(bars(20, 1)["inputs"])
    turns, stacked = (Networks(recipe(network=Normalised), (1, 2, 3), CPU) for _ in range(2))
    for one in (turns, stacked):
        one.skeleton.train()
    found = torch.func.vmap(stacked._logits)(stacked.parameters, stacked.buffers, inputs)
    torch.testing.assert_close(turns(inputs), found, rtol=1e-4, atol=1e-4)
    for name, value in turns.buffers.items():
        torch.testing.assert_close(stacked.buffers[name], value, rtol=1e-4, atol=1e-5)
        assert len(value.unique(dim=0)) == (1 if name.endswith("tracked") else 3)


def subject(pool: Callable[[], dict[str, Tensor]] = lambda: bars(96, 0), **options: object) -> Subject:
    return Subject("bars", small().eval(), **bars(40, 1), recipe=recipe(pool=pool, **options))


def test_a_subject_beside_its_pool(run: Run) -> None:
    given = subject(lambda: {**bars(96, 0), "mask": torch.ones(96, 1, 8, 8, dtype=torch.bool)})
    made = retrainable(given, run)
    assert isinstance(made, Retrainable)
    assert made.pool.model is given.model
    assert torch.equal(made.pool.inputs, bars(96, 0)["inputs"])
    assert made.pool.truth["mask"].shape == (96, 1, 8, 8)
    assert torch.equal(made.inputs, given.inputs)
    assert made.training is given.recipe


@pytest.mark.parametrize(
    "other", [{"epochs": 7}, {"pool": lambda: bars(96, 2)}, {"shift": 1}, {"rate": 0.02}]
)
def test_the_fingerprint_follows_the_recipe(other: dict[str, object], run: Run) -> None:
    """What was measured under another recipe is not read from the store."""
    one, two = subject(), subject(**other)
    two = replace(two, model=one.model)
    assert one.fingerprint == two.fingerprint
    assert retrainable(one, run).fingerprint != retrainable(two, run).fingerprint
    assert retrainable(one, run).fingerprint == retrainable(one, run).fingerprint


def test_without_a_recipe(run: Run) -> None:
    with pytest.raises(Undefined, match="needs recipe, which subject 'images' does not offer"):
        retrainable(images(), run)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (
            lambda: {key: torch.cat([rows, bars(40, 1)[key][:3]]) for key, rows in bars(96, 0).items()},
            "3 of the inputs that judge are in the recipe's pool, which may hold none",
        ),
        (
            lambda: {"inputs": bars(96, 0)["inputs"]},
            "the recipe's pool: expected 'inputs' and 'targets', 'targets' is missing",
        ),
        (
            lambda: {**bars(96, 0), "targets": torch.full((96,), 9)},
            "subject 'bars, pool': expected targets in 0…2, the model's outputs, came 9…9",
        ),
    ],
)
def test_pools_that_cannot_be_used(pool: Callable[[], dict[str, Tensor]], expected: str, run: Run) -> None:
    with pytest.raises(Invalid) as error:
        retrainable(subject(pool), run)
    assert str(error.value) == expected
