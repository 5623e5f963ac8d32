"""Information bottlenecks against slow textbook versions, and what they have to find, on float64 networks."""

import importlib
import math
import re
import sys
from collections.abc import Callable

import pytest
import torch
from networks import Pooled, settled
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

import xattr_check
from xattr_check.core.layouts import blurred, layout_of
from xattr_check.core.outputs import Classes, Value
from xattr_check.core.state import ModelState, generator_states
from xattr_check.core.subject import Subject
from xattr_check.errors import Declined
from xattr_check.storage.digest import derive_seed, digest_rows
from xattr_methods import iba, input_iba, inverse_iba, multilayer_iba, regression_iba
from xattr_methods.information._bottleneck import Bottleneck, Loss, Noise, predictability
from xattr_methods.information._divergence import conditional_divergence, divergence, log_blurred, shares
from xattr_methods.information._place import find_place, find_resolutions
from xattr_methods.information._statistics import Statistics, statistics_of
from xattr_methods.information.multilayer_iba import intersection
from xattr_methods.information.regression_iba import loss_of_values

SIDE = 8
TARGETS = torch.tensor([0, 2, 1])
ALL = (iba, inverse_iba, multilayer_iba)
by_name = pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)


@pytest.fixture
def images() -> tuple[nn.Module, Tensor, Tensor]:
    """A network whose outputs differ between inputs as much as those of a trained one."""
    torch.manual_seed(0)
    model = settled(Pooled())
    inputs, data = (torch.randn(count, 3, SIDE, SIDE, dtype=torch.float64) for count in (3, 40))
    with torch.no_grad():
        model.classifier.weight *= 3 / model(data).std(0)[:, None]
        model.classifier.bias -= model(data).mean(0)
    return model, inputs, data


class Region(nn.Module):
    """One layer that returns its inputs, and a logit that reads some of its cells."""

    def __init__(self, cells: Tensor, slope: float = 8.0) -> None:
        super().__init__()
        self.layer, self.slope = nn.Identity(), slope
        self.register_buffer("cells", cells.double())

    def forward(self, inputs: Tensor) -> Tensor:
        read = (self.layer(inputs) * self.cells).flatten(1).sum(1) / self.cells.sum()
        return torch.stack([torch.zeros_like(read), self.slope * read], 1)


class Either(nn.Module):
    """One layer that returns its inputs, and a logit that is high where one of two patches is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        seen = self.layer(inputs)
        patches = torch.stack([seen[:, 0, 1:3, 1:3].mean((1, 2)), seen[:, 0, 5:7, 5:7].mean((1, 2))], 1)
        read = patches.amax(1)
        return torch.stack([torch.zeros_like(read), 12 * read - 18], 1)


def region() -> Tensor:
    cells = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    cells[:, 2:5, 3:6] = True
    return cells


def noise(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("alpha", [-30.0, -2.0, 0.0, 5.0, 12.0])
def test_the_divergence_is_that_of_torch(alpha: float) -> None:
    r = torch.linspace(-4, 4, 9, dtype=torch.float64)
    logits = torch.full_like(r, alpha)
    passed = logits.sigmoid()
    wanted = kl_divergence(Normal(passed * r, 1 - passed), Normal(torch.zeros_like(r), torch.ones_like(r)))
    torch.testing.assert_close(divergence(*shares(logits), r), wanted, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("prior", [0.0, 0.3, 0.97, 1.0])
def test_the_conditional_divergence_is_that_of_torch(prior: float) -> None:
    logits, scores = (
        torch.linspace(-6, 6, 13, dtype=torch.float64)[:, None].expand(13, 9),
        torch.linspace(-4, 4, 9, dtype=torch.float64).expand(13, 9),
    )
    passed, before = logits.sigmoid(), torch.full_like(logits, prior)
    joint = passed * before
    # Remarks 1 and 2, for a mean of 0 and a deviation of 1.
    wanted = kl_divergence(Normal(passed * scores, 1 - passed), Normal(joint * scores, 1 - joint))
    found = conditional_divergence(logits, before, scores)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)
    if prior == 0:
        torch.testing.assert_close(found, divergence(*shares(logits), scores), rtol=1e-12, atol=1e-12)
    if prior == 1:
        assert not bool(found.any())


def test_divergences_are_finite_where_what_passes_rounds_to_one() -> None:
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor([[[200.0, 900.0]]], dtype=dtype).requires_grad_()
        for sigma in (0.0, 1.0):
            found = divergence(*shares(logits, sigma), torch.zeros_like(logits))
            assert bool((found > 198).all())
            (slope,) = torch.autograd.grad(found.sum(), logits)
            assert bool(torch.isfinite(slope).all())
            assert float(slope.sum()) == pytest.approx(2 if sigma == 0 else slope.sum().item())
        for prior in (0.0, 0.5, 1.0):
            found = conditional_divergence(logits, torch.full_like(logits, prior), torch.ones_like(logits))
            assert bool(torch.isfinite(found).all())
            (slope,) = torch.autograd.grad(found.sum(), logits)
            assert bool(torch.isfinite(slope).all())


@pytest.mark.parametrize("cells", [(5,), (4, 7), (1, 3), (2, 3, 4)])
def test_logarithms_are_blurred_as_what_they_are_of(cells: tuple[int, ...]) -> None:
    values = torch.rand(2, 3, *cells, dtype=torch.float64) + 0.01
    torch.testing.assert_close(log_blurred(values.log(), 1.0).exp(), blurred(values, 1.0))
    # Also where they are too small to be told from nothing.
    torch.testing.assert_close(log_blurred(values.log() - 2000, 1.0) + 2000, blurred(values, 1.0).log())


def test_statistics_are_those_of_all_data_in_eval_mode(images) -> None:
    model, _, data = images
    place = find_place("iba", model, data[:1], layout_of(data))
    with torch.no_grad():
        low = model.pool(model.norm(model.first(data)).relu())
        last = (model.norm(model.second(low)) + low).relu()
        outputs = model(data)
    for memory in (1, 2**29):
        found = statistics_of("iba", place, model, data.clone(), None, memory)
        torch.testing.assert_close(found.mean, last.mean(0))
        torch.testing.assert_close(found.deviation, last.std(0).clamp_min(0.01))
        torch.testing.assert_close(found.outputs, torch.stack([outputs.mean(0), outputs.std(0)]))


def test_statistics_are_computed_once_while_the_model_is_what_it_is(images) -> None:
    model, inputs, data = images
    calls: list[int] = []
    handle = model.first.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    place = find_place("iba", model, inputs, layout_of(data))
    first = statistics_of("iba", place, model, data, None, 2**29)
    asked = len(calls)
    assert statistics_of("iba", place, model, data, None, 2**29).mean.equal(first.mean)
    assert len(calls) == asked
    with torch.no_grad():
        model.first.weight *= 2
    assert not statistics_of("iba", place, model, data, None, 2**29).mean.equal(first.mean)
    handle.remove()


def after(model: nn.Module, inputs: Tensor) -> Tensor:
    """What the last layer of a Pooled network with cells returns."""
    low = model.pool(model.norm(model.first(inputs)).relu())
    return (model.norm(model.second(low)) + low).relu()


def slowly(
    model: nn.Module, x: Tensor, target: int, data: Tensor, beta: float, steps: int, inverse: bool
) -> Tensor:
    """The map of one input, with Adam written out, and one copy of the noise at a time."""
    with torch.no_grad():
        value, seen = after(model, x[None])[0], after(model, data)
    mean, deviation = seen.mean(0), seen.std(0).clamp_min(0.01)
    generator = torch.Generator().manual_seed(derive_seed("bottleneck", 0, *digest_rows(x[None])))
    torch.randn(1, *value.shape, generator=generator)  # what is tried first
    alpha = torch.full_like(value, 5.0).requires_grad_()
    first, second = torch.zeros_like(value), torch.zeros_like(value)

    def information() -> tuple[Tensor, Tensor]:
        passed = blurred(alpha.sigmoid()[None], 1.0)[0]
        total = []
        for share, r in zip(passed.flatten(), ((value - mean) / deviation).flatten(), strict=True):
            total.append(0.5 * (share**2 * r**2 + (1 - share) ** 2 - 1) - torch.log(1 - share))
        return passed, torch.stack(total).reshape(value.shape)

    for step in range(1, steps + 1):
        passed, nats = information()
        drawn = torch.randn(4, *value.shape, generator=generator).double()
        loss = beta * nats.mean()
        for one in drawn:
            other = mean + deviation * one
            mixed = (
                passed * other + (1 - passed) * value if inverse else passed * value + (1 - passed) * other
            )
            surprise = functional.cross_entropy(model.classifier(mixed.mean((1, 2))), torch.tensor(target))
            loss = loss + (-surprise.clamp_max(math.log(3)) if inverse else surprise) / 4
        (slope,) = torch.autograd.grad(loss, alpha)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        rate = 0.5 * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        epsilon = 1e-8 * math.sqrt(1 - 0.999**step)
        alpha = (alpha - rate * first / (second.sqrt() + epsilon)).detach().requires_grad_()
    bits = information()[1].detach().sum(0) / math.log(2)
    return functional.interpolate(bits[None, None], (SIDE, SIDE), mode="bilinear")[0] / 4


@pytest.mark.parametrize("method", [iba, inverse_iba], ids=lambda method: method.name)
def test_maps_are_those_of_a_slow_textbook(images, method) -> None:
    model, inputs, data = images
    inverse, targets = method is inverse_iba, model(inputs).argmax(1)
    given = {"beta": 0.05, "steps": 12, "copies": 4, "rate": 0.5, "data": data}
    found = method(model, inputs, targets, **given)
    slow = torch.stack(
        [slowly(model, x, int(t), data, 0.05, 12, inverse) for x, t in zip(inputs, targets, strict=True)]
    )
    torch.testing.assert_close(found, slow, rtol=1e-6, atol=1e-9)


@by_name
def test_maps_depend_neither_on_the_batch_nor_on_its_order(images, method) -> None:
    model, inputs, data = images
    # Those that the model predicts: of others there is nothing that the inverse could remove.
    targets = model(inputs).argmax(1)
    before, generators = ModelState(model), generator_states()
    given = {"data": data, "beta": 0.05, "rate": 0.5, "steps": 12}
    found = method(model, inputs, targets, **given)
    order = torch.tensor([2, 0, 1])
    moved = method(model, inputs[order], targets[order], **given)
    torch.testing.assert_close(moved, found[order], rtol=1e-9, atol=1e-12)
    alone = method(model, inputs[1:2], targets[1:2], **given)
    torch.testing.assert_close(alone, found[1:2], rtol=1e-9, atol=1e-12)
    other = method(model, inputs, targets, seed=1, **given)
    assert not torch.allclose(other, found)
    assert before.changes() == []
    assert torch.equal(generators[2], generator_states()[2])
    assert bool((found >= 0).all())


@pytest.mark.parametrize("layer", [None, "first", "pool"])
def test_the_sum_is_that_of_the_layer(images, layer: str | None) -> None:
    """Also where the model goes around the layer, so that each copy needs its own input before it."""
    model, inputs, data = images
    found = iba(model, inputs, TARGETS, data=data, layer=layer, steps=1)
    place = find_place("iba", model, inputs, layout_of(inputs), layer)
    statistics = statistics_of("iba", place, model, data, None, 2**29)
    with torch.no_grad():
        values = place.seen(model, inputs)[0]
    # The first step of Adam is as long as the rate, wherever it goes.
    up, down = (
        divergence(
            *shares(torch.full_like(values, alpha), 1.0), (values - statistics.mean) / statistics.deviation
        )
        for alpha in (6.0, 4.0)
    )
    total = found.flatten(1).sum(1) * math.log(2)
    assert bool((total > down.flatten(1).sum(1) * (1 - 1e-6)).all())
    assert bool((total < up.flatten(1).sum(1)).all())


def test_nearly_all_bits_are_where_the_network_reads() -> None:
    cells = region()
    inputs = noise(3, 1) + 2 * cells
    found = iba(
        Region(cells), inputs, torch.ones(3, dtype=torch.int64), data=noise(200), layer="layer", smoothing=0,
        beta=1, steps=40,
    )  # fmt: skip
    share = (found * cells).flatten(1).sum(1) / found.flatten(1).sum(1)
    assert bool((share > 0.9).all()), share


def test_what_costs_nothing_passes_and_what_costs_much_does_not() -> None:
    model, inputs, data = Region(region()), 0.1 * noise(3, 1) + 2 * region(), noise(200)
    given = {"data": data, "layer": "layer", "smoothing": 0, "steps": 60}
    targets = torch.ones(3, dtype=torch.int64)
    dear = iba(model, inputs, targets, beta=1e6, **given)
    assert float(dear.max()) < 1e-6
    place = find_place("iba", model, inputs, layout_of(inputs), "layer")
    statistics = statistics_of("iba", place, model, data, None, 2**29)
    open_wide = divergence(
        *shares(torch.full_like(inputs, 5.0)), (inputs - statistics.mean) / statistics.deviation
    )
    cheap = iba(model, inputs, targets, beta=1e-9, **given)
    read = region().expand_as(cheap)
    assert bool((cheap[read] > open_wide[read] / math.log(2)).all())


def test_of_two_patches_that_suffice_the_inverse_finds_both() -> None:
    one, other = torch.zeros(1, SIDE, SIDE), torch.zeros(1, SIDE, SIDE)
    one[:, 1:3, 1:3], other[:, 5:7, 5:7] = 1, 1
    inputs = noise(4, 1) * 0.1 + 3.3 * one + 3 * other
    targets = torch.ones(4, dtype=torch.int64)
    given = {"data": noise(200), "layer": "layer", "smoothing": 0, "beta": 1, "rate": 0.1, "steps": 300}

    def balance(found: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) how much the weaker patch has of the stronger one, and what both have of all."""
        first, second = ((found * patch).flatten(1).sum(1) for patch in (one, other))
        both = torch.stack([first, second])
        return both.amin(0) / both.amax(0), both.sum(0) / found.flatten(1).sum(1)

    kept = balance(iba(Either(), inputs, targets, **given))
    gone = balance(inverse_iba(Either(), inputs, targets, **given))
    assert bool((kept[0] < 0.1).all()), kept
    assert bool((gone[0] > 0.4).all()), gone
    assert bool((torch.stack([kept[1], gone[1]]) > 0.9).all())


def test_the_inverse_loses_nothing_by_what_is_beyond_chance() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.0, 0.0], [-90.0, 0.0]], dtype=torch.float64).requires_grad_()
    found = predictability(Classes())(logits, torch.zeros(3, dtype=torch.int64), logits)
    assert float(found[2].detach()) == pytest.approx(-math.log(2))
    (slope,) = torch.autograd.grad(found.sum(), logits)
    assert float(slope[0, 0]) > 0
    assert not bool(slope[2].any())


class Values(nn.Module):
    """One layer that returns its inputs, and the mean of one region less that of another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        seen = self.layer(inputs)[:, 0]
        return (seen[:, :2, :2].mean((1, 2)) + 0.5 * seen[:, -2:, -2:].mean((1, 2)))[:, None]


def of_values(inputs: Tensor, **given: object) -> Tensor:
    usual = {"data": noise(200), "layer": "layer", "smoothing": 0, "beta": 0.5, "rate": 0.1, "steps": 200}
    found: Tensor = regression_iba(
        Values(), inputs, torch.zeros(len(inputs), dtype=torch.int64), **usual | given
    )
    return found


def test_the_three_losses_of_values() -> None:
    """High at one corner, low at the other: the value, a small one, and a large one have to be explained."""
    inputs = 0.1 * noise(2, 1)
    inputs[:, :, :2, :2] += 2
    inputs[:, :, -2:, -2:] -= 3

    def shares_of(found: Tensor) -> tuple[Tensor, Tensor]:
        whole = found.flatten(1).sum(1)
        return found[:, :, :2, :2].flatten(1).sum(1) / whole, found[:, :, -2:, -2:].flatten(1).sum(1) / whole

    high, low = shares_of(of_values(inputs, loss="maximisation"))
    assert bool((high > 0.9).all())
    # The value wanted is far below: what makes it small is found, and not what makes it large.
    high, low = shares_of(of_values(inputs, loss="squared_error", value=-1.5))
    assert bool((low > 0.9).all())
    # The value is 0.5, of both: neither alone has it.
    found = of_values(inputs, loss="deviation")
    high, low = shares_of(found)
    assert bool((high + low > 0.9).all())
    assert bool((high > 0.1).all())
    # Which has to go so that it is lost.
    high, low = shares_of(of_values(inputs, loss="deviation", inverse=True))
    assert bool((high + low > 0.9).all())


def test_the_losses_of_values_are_their_formulae() -> None:
    known = Statistics(torch.zeros(1), torch.ones(1), torch.tensor([[1.0], [2.0]]))
    now, before, targets = torch.tensor([[4.0], [-3.0]]), torch.tensor([[2.0], [9.0]]), torch.tensor([0, 0])

    def found(loss: str, value: float | None = None, inverse: bool = False) -> list[float]:
        return loss_of_values(loss, value, inverse, known)(now, targets, before).tolist()

    assert found("deviation") == [1.0, 36.0]
    assert found("squared_error", 0.0) == [4.0, 2.25]
    # Smaller is better, and a large value is.
    assert found("maximisation") == [-4.0, -2.25]
    assert found("maximisation", inverse=True) == [4.0, 2.25]
    # The bound is a deviation for the first, whose value is near the mean, and (9 − 1)² / 4 for the second.
    assert found("deviation", inverse=True) == [-1.0, -16.0]
    assert found("squared_error", 0.0, inverse=True) == [-1.0, -1.0]


def test_layers_of_several_resolutions_are_found(images) -> None:
    model, inputs, data = images
    places = find_resolutions("multilayer_iba", model, inputs, layout_of(inputs), 3)
    assert [place.shape for place in places] == [(5, 8, 8), (5, 4, 4)]
    found = multilayer_iba(model, inputs, TARGETS, data=data, beta=0.01)
    with torch.no_grad():
        first = places[0].seen(model, inputs)[0]
    torch.testing.assert_close(first, model.norm(model.first(inputs)).relu())
    assert found.shape == (3, 1, SIDE, SIDE)
    named = multilayer_iba(model, inputs, TARGETS, data=data, beta=0.01, layers="norm, pool")
    assert named.shape == found.shape


def test_the_first_map_is_kept_where_the_others_are_above_the_threshold() -> None:
    first = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    other = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    other[:, :, 0], other[1, :, 1:] = 1, 0.01
    kept = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    kept[:, :, 0] = True  # a half each, of a norm of one, and 0.006 · 224 / 4 = 0.336 is enough
    assert torch.equal(intersection([first, other]), first * kept)
    assert torch.equal(intersection([first, torch.zeros_like(other)]), torch.zeros_like(first))
    assert torch.equal(intersection([first]), first)
    # As large as the whole, in whatever size: what is above the threshold remains so, enlarged.
    wider = [functional.interpolate(one, scale_factor=3) for one in (first, other)]
    assert torch.equal(intersection(wider), functional.interpolate(first * kept, scale_factor=3))
    # Of later maps that have no place in common there is nothing left.
    assert not bool(intersection([first, other, other.flip(2)])[0].any())


class Recurrent(nn.Module):
    """Tokens (N, T, E) through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.classifier = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.classifier(self.read(inputs)[0].mean(1))


def test_of_tokens_it_is_the_last_layer_that_returns_them() -> None:
    torch.manual_seed(0)
    model, inputs = Recurrent().double().eval(), torch.randn(2, 5, 4, dtype=torch.float64)
    data = torch.randn(30, 5, 4, dtype=torch.float64)
    targets = torch.tensor([0, 2])
    found = iba(model, inputs, targets, data=data, layout="embeddings", beta=0.01)
    assert found.shape == (2, 5, 1)
    named = iba(model, inputs, targets, data=data, layout="embeddings", layer="read", beta=0.01)
    torch.testing.assert_close(named, found, rtol=0, atol=0)
    several = multilayer_iba(model, inputs, targets, data=data, layout="embeddings", beta=0.01)
    torch.testing.assert_close(several, found, rtol=0, atol=0)


class Patched(nn.Module):
    """A token before those of 4 × 2 patches, which a norm returns."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.norm, self.classifier = nn.Conv2d(3, 6, 2, 2), nn.LayerNorm(6), nn.Linear(6, 3)
        self.start = nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.read(inputs).flatten(2).mT
        tokens = self.norm(torch.cat([self.start.expand(len(tokens), -1, -1), tokens], 1))
        return self.classifier(tokens.mean(1))


def test_of_a_layer_of_patches_the_others_are_left_out() -> None:
    torch.manual_seed(0)
    model = Patched().double()
    inputs, data = (torch.randn(count, 3, 8, 4, dtype=torch.float64) for count in (3, 30))
    place = find_place("iba", model, inputs, layout_of(inputs), "norm")
    assert place.shape == (9, 6)
    bits = torch.rand(3, 9, 6, dtype=torch.float64)
    found = place.on_features("iba", model, inputs, bits)
    wanted = functional.interpolate(bits[:, 1:].sum(2).reshape(3, 1, 4, 2), (8, 4), mode="bilinear") / 4
    torch.testing.assert_close(found, wanted)
    assert iba(model, inputs, TARGETS, data=data, layer="norm").shape == (3, 1, 8, 4)


@pytest.mark.parametrize(
    ("axes", "convolution"), [((9,), nn.Conv1d), ((4, 4, 4), nn.Conv3d)], ids=["signal", "volume"]
)
def test_signals_and_volumes_are_taken(axes: tuple[int, ...], convolution: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        convolution(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * math.prod(axes), 3)
    ).double()
    inputs, data = (torch.randn(count, 2, *axes, dtype=torch.float64) for count in (3, 20))
    layout = "signal" if len(axes) == 1 else "volume"
    for method in ALL:
        assert method(model, inputs, TARGETS, data=data, layout=layout).shape == (3, 1, *axes)


def constant() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    nn.init.zeros_(model[0].weight)
    return model.double()


class Overflowing(nn.Module):
    """A network whose logits are infinite where the layer is far from what it is without noise."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        seen = self.layer(inputs).flatten(1)
        return torch.stack([seen.sum(1), (seen.sum(1) - 8).sqrt()], 1)


def test_what_cannot_be_explained_is_told(images) -> None:
    model, inputs, data = images

    def told(method=iba, model=model, inputs=inputs, targets=TARGETS, **given: object) -> str:
        with pytest.raises(ValueError) as caught:
            method(model, inputs, targets, **{"data": data} | given)
        return str(caught.value)

    assert told(data=None) == (
        "iba: expected 10 inputs or more for the mean and the deviation of the layer, came 0; "
        "pass data=INPUTS, 1000 for example"
    )
    assert told(data=data[:9]).startswith(
        "iba: expected 10 inputs or more for the mean and the deviation of the layer, came 9;"
    )
    assert told(model=constant()) == (
        "iba: its last layer: expected outputs that differ between inputs, came ones without variance; "
        "name another with layer=NAME, or pass other data=INPUTS"
    )
    with pytest.raises(Declined):  # which is not applicable, and no error of the method
        iba(constant(), inputs, TARGETS, data=data)
    assert told(data=torch.cat([data, torch.full_like(inputs, torch.nan)])) == (
        "iba: its last layer: expected a finite mean and deviation, came NaN or infinite ones; name another "
        "with layer=NAME, or pass other data=INPUTS"
    )
    assert told(model=constant(), layer="1").startswith("iba: layer='1': expected outputs that differ")
    assert told(layer="third") == (
        "layer='third': expected a module of the model, for example one of first, norm, second, relu, pool, "
        "classifier"
    )
    assert told(layer="norm", call=5) == (
        "iba: layer='norm', call=5: expected one of the calls of the layer, came 2 of them"
    )
    assert told(layer="classifier") == (
        "iba: layer='classifier': expected a layer with a cell, a patch or a token for each feature of image "
        "(8, 8), came one that returns (N, 3)"
    )
    assert told(explained=Value.of(torch.zeros(3, 3))) == (
        "iba: expected outputs that are classes, labels or a margin, came values; use xattr:regression_iba"
    )
    for method in (iba, input_iba):
        name = method.name
        assert told(method, data=data[..., :5]) == (
            f"{name}: expected data of the shape, dtype and device of the inputs, each (3, 8, 8) float64 "
            "on cpu, came (3, 8, 5) float64 on cpu"
        )
        assert told(method, data=data.float()).endswith("float64 on cpu, came (3, 8, 8) float32 on cpu")
        assert told(method, data=data.numpy()) == (
            f"{name}: expected data that is a tensor, as the inputs are, came a ndarray"
        )
    few = Subject("few", model, data[:4], torch.zeros(4, dtype=torch.int64))
    with pytest.raises(Declined, match=r"iba: needs at least 10 inputs for .*, this subject has 4"):
        iba(model, inputs, TARGETS, subject=few)
    gaps = data.masked_fill(torch.arange(len(data))[:, None, None, None] == 3, torch.nan)
    assert told(data=gaps) == (
        "iba: its last layer: expected a finite mean and deviation, came NaN or infinite ones; "
        "name another with layer=NAME, or pass other data=INPUTS"
    )
    assert told(smoothing=-1) == "iba: expected smoothing of at least 0, came -1"
    assert told(smoothing=torch.nan) == "iba: expected smoothing of at least 0, came nan"
    assert told(beta=0) == "iba: expected beta above 0, came 0"
    assert told(copies=0) == "iba: expected copies of at least 1, came 0"
    wide = torch.rand(12, 1, 4, 4, dtype=torch.float64)
    found = told(
        model=Overflowing(), inputs=wide[:1], targets=torch.tensor([1]), data=wide, layer="layer", beta=1000
    )
    assert re.fullmatch(
        r"iba: expected a finite loss under noise, came NaN or an infinite one in step \d+ of 10 for 1 of 1 "
        "inputs; name another layer with layer=NAME, whose noise the model can take",
        found,
    )
    assert told(regression_iba, loss="mse") == (
        "regression_iba: expected loss= one of deviation, squared_error, maximisation, came 'mse'"
    )
    assert told(regression_iba, loss="squared_error") == (
        "regression_iba: expected value= with loss='squared_error' and no other, came none"
    )
    dense = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).double()
    with pytest.raises(
        Declined, match=r"iba: no layer of this model returns \(N, C, h, w\) with more than one cell;"
    ):
        iba(dense, inputs, TARGETS, data=data)
    with pytest.raises(Declined, match=r"iba: expected images .* or tokens, came columns"):
        iba(nn.Linear(4, 3), torch.zeros(3, 4), TARGETS, data=torch.zeros(20, 4))


@by_name
def test_a_target_that_is_never_predicted_has_a_map(images, method) -> None:
    """Of few bits or of none, and finite: there is no way to have it, and nothing to remove."""
    model, inputs, data = images
    with torch.no_grad():
        model.classifier.bias[1] -= 1e4
    found = method(model, inputs, torch.ones_like(TARGETS), data=data)
    assert bool(torch.isfinite(found).all())
    assert bool((found >= 0).all())
    if method is inverse_iba:
        likely = method(model, inputs, model(inputs).argmax(1), data=data, beta=0.01)
        assert float(found.sum()) < 1e-2 * float(likely.sum())


def test_what_a_layer_does_not_tell_is_told(images) -> None:
    _, inputs, data = images

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = nn.Conv2d(3, 2, 1), nn.Linear(3, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            self.layer(inputs)
            return self.out(inputs.mean((2, 3)))

    with pytest.raises(
        ValueError, match="expected a layer that the output depends on, came one that it does not"
    ):
        iba(Beside().double(), inputs, TARGETS, data=data, layer="layer")


def test_the_unit_is_declared() -> None:
    methods = xattr_check.methods()
    family = {name for name, one in methods.items() if ".information." in one.function.__module__}
    assert family == {"iba", "inverse_iba", "regression_iba", "multilayer_iba", "input_iba"}
    assert {methods[name].unit for name in family} == {"bits"}
    assert methods["gradcam"].unit == ""


MODULES = {
    name: importlib.import_module(f"xattr_methods.information.{name}")
    for name in ("_bottleneck", "_place", "_statistics", "inverse_iba", "regression_iba")
}
MODULES["here"] = sys.modules[__name__]


def in_train_mode(place, model, inputs, memory):
    """Statistics of the layer as it is where dropout is on and BatchNorm has those of the batch."""
    model.train()
    try:
        return MEASURED(place, model, inputs, memory)
    finally:
        model.eval()


def of_the_batch(own: Noise, copies: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Noise of one generator for all inputs."""
    count = len(own.generators)
    drawn = torch.randn(copies, count, *shape, generator=own.generators[0], dtype=torch.float32)
    return drawn.to(like)


class SmoothedLate:
    """λ is smoothed for what passes, and its divergence is that of λ as it was before."""

    def __init__(self) -> None:
        self.before: tuple[Tensor, Tensor] | None = None

    def shares(self, logits: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        self.before = shares(logits)
        return shares(logits, sigma)

    def divergence(self, passed: Tensor, log_rest: Tensor, scores: Tensor) -> Tensor:
        assert self.before is not None
        return divergence(*self.before, scores)


def without_logits(passed: Tensor, log_rest: Tensor, scores: Tensor) -> Tensor:
    """The divergence of λ as it is rounded."""
    return 0.5 * ((passed * scores) ** 2 + (1 - passed) ** 2 - 1) - (1 - passed).log()


def as_printed(loss: str, value: float | None, inverse: bool, statistics: Statistics) -> Loss:
    """The loss of maximisation is made small, by the sign that the paper prints."""
    return loss_of_values(loss, value, inverse != (loss == "maximisation"), statistics)


MEASURED = MODULES["_statistics"]._measured
LATE = SmoothedLate()
# What must not hold, of which module's names, and what stands there in place of ours.
DEFECTS: dict[str, tuple[Callable[..., None], tuple[object, ...], str, dict[str, object]]] = {
    "statistics in train mode": (
        test_statistics_are_those_of_all_data_in_eval_mode, ("images",), "_statistics",
        {"_measured": in_train_mode},
    ),
    "no least deviation": (
        test_statistics_are_those_of_all_data_in_eval_mode, ("images",), "_statistics", {"FLOOR": 0.0}
    ),
    "noise of the whole batch": (
        test_maps_depend_neither_on_the_batch_nor_on_its_order, ("images", iba), "_bottleneck",
        {"Noise": type("Shared", (Noise,), {"draw": of_the_batch})},
    ),
    "smoothed after the divergence": (
        test_maps_are_those_of_a_slow_textbook, ("images", iba), "_bottleneck",
        {"shares": LATE.shares, "divergence": LATE.divergence},
    ),
    "1 − λ is taken from λ": (
        test_divergences_are_finite_where_what_passes_rounds_to_one, (), "here",
        {"divergence": without_logits},
    ),
    "bits of cells, of another sum in the inputs": (
        test_the_sum_is_that_of_the_layer, ("images", None), "_place",
        {"_spread": lambda axes, cells: axes.enlarged(cells)},
    ),
    "the inverse goes on with what passes": (
        test_of_two_patches_that_suffice_the_inverse_finds_both, (), "inverse_iba",
        {"Bottleneck": lambda *given, inverse: Bottleneck(*given)},
    ),
    "maximisation by its printed sign": (
        test_the_three_losses_of_values, (), "regression_iba", {"loss_of_values": as_printed}
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_of_public_code_are_caught(defect: str, images, monkeypatch: pytest.MonkeyPatch) -> None:
    holds, given, module, broken = DEFECTS[defect]
    for name, other in broken.items():
        monkeypatch.setattr(MODULES[module], name, other)
    with pytest.raises(AssertionError):
        holds(*(images if one == "images" else one for one in given))
