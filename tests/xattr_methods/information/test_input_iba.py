"""Information bottlenecks of the inputs against slow textbook versions on small float64 networks."""

import importlib
import math

import pytest
import torch
from networks import Pooled, settled
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.core.layouts import layout_of
from xattr_check.core.state import ModelState, generator_states
from xattr_check.perturbation.chunks import Chunks
from xattr_methods import iba, input_iba
from xattr_methods.information._adversary import BATCH, BOUND, HIDDEN, Critics, Layer, fitted_mask
from xattr_methods.information._bottleneck import Noise
from xattr_methods.information._divergence import conditional_divergence, divergence, shares
from xattr_methods.information._place import Place, find_place
from xattr_methods.information._statistics import statistics_of

SIDE = 8
TARGETS = torch.tensor([0, 2, 1])
FEW = {"epochs": 1, "steps": 4, "feature_steps": 4, "copies": 3}


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


def place_of(model: nn.Module, inputs: Tensor) -> Place:
    return find_place("input_iba", model, inputs, layout_of(inputs))


def judged(weights: list[Tensor], values: Tensor) -> Tensor:
    """(k,): what one critic of cells says of values (k, C, h, w)."""
    hidden = values
    for weight, bias in zip(weights[0:-4:2], weights[1:-4:2], strict=True):
        hidden = functional.leaky_relu(functional.conv2d(hidden, weight, bias, stride=2, padding=1), 0.2)
    hidden = functional.leaky_relu(hidden.flatten(1) @ weights[-4] + weights[-3], 0.2)
    return (hidden @ weights[-2] + weights[-1]).squeeze(1)


def test_each_input_has_a_critic_of_its_own(images) -> None:
    model, inputs, _ = images
    place = place_of(model, inputs)
    critics = Critics(place, 3, inputs)
    with torch.no_grad():
        for weight in critics.weights:
            weight.copy_(torch.randn_like(weight) * 0.3)
    values = torch.randn(4, 3, *place.shape, dtype=torch.float64)
    found = critics(values, slice(0, 3))
    for row in range(3):
        slow = judged([weight[row] for weight in critics.weights], values[:, row])
        torch.testing.assert_close(found[:, row], slow)
    torch.testing.assert_close(critics(values[:, 1:], slice(1, 3)), found[:, 1:])


def test_critics_of_tokens_read_them_in_their_order() -> None:
    inputs = torch.randn(2, 5, 4, dtype=torch.float64)
    place = Place(None, 0, (5, 4), layout_of(inputs, "embeddings"))
    critics = Critics(place, 2, inputs)
    with torch.no_grad():
        for weight in critics.weights:
            weight.copy_(torch.randn_like(weight))
    values = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    for row in range(2):
        weight, again, bias, out, last = (one[row] for one in critics.weights)
        read = nn.RNN(4, HIDDEN, batch_first=True).double()
        with torch.no_grad():
            read.weight_ih_l0.copy_(weight.T), read.weight_hh_l0.copy_(again.T)
            read.bias_ih_l0.copy_(bias), read.bias_hh_l0.zero_()
        slow = read(values[:, row])[0][:, -1] @ out + last
        torch.testing.assert_close(critics(values, slice(0, 2))[:, row], slow.squeeze(1))


def fitted_slowly(model: nn.Module, x: Tensor, wanted: Layer, row: int, start: Tensor, epochs: int) -> Tensor:
    """The mask of one input, whose noise has mean 0.1 and deviation 2 at the start."""
    noise = Noise(x[None], 0)
    mask = start.clone().requires_grad_()
    middle, spread = torch.zeros_like(x, requires_grad=True), torch.ones_like(x, requires_grad=True)
    weights = [one[0].detach().clone().requires_grad_() for one in Critics(wanted.place, 1, x[None]).weights]
    critic = torch.optim.RMSprop(weights, 5e-5)
    rates = ((mask, 0.003), (middle, 0.1), (spread, 0.05))
    generator = [torch.optim.RMSprop([one], rate) for one, rate in rates]

    def returned() -> Tensor:
        parts = []
        for one in noise.draw(BATCH, tuple(x.shape), x)[0]:
            other = 0.1 + 2 * (middle + spread * one)
            hidden = model.pool(model.norm(model.first((mask * x + (1 - mask) * other)[None])).relu())
            parts.append((model.norm(model.second(hidden)) + hidden).relu()[0])
        return (torch.stack(parts) - wanted.mean) / wanted.deviation

    for _ in range(epochs):
        for batch in range(7):
            with torch.no_grad():
                fake = returned()
            value, share = wanted.values[row], wanted.passed[row]
            other = noise.draw(BATCH, wanted.place.shape, x)[0]
            real = share * (value - wanted.mean) / wanted.deviation + (1 - share) * other
            critic.zero_grad()
            (judged(weights, fake).mean() - judged(weights, real).mean()).backward()
            critic.step()
            for one in weights:
                one.data.clamp_(-BOUND, BOUND)
            if batch in (0, 5):
                for one in generator:
                    one.zero_grad()
                (-judged(weights, returned()).mean()).backward()
                for one in generator:
                    one.step()
                mask.data.clamp_(0, 1)
    return mask.detach()


def layer_of(model: nn.Module, inputs: Tensor, data: Tensor) -> Layer:
    place = place_of(model, inputs)
    known = statistics_of("input_iba", place, model, data, None, 2**29)
    with torch.no_grad():
        values, _ = place.seen(model, inputs)
    return Layer(place, values, torch.rand_like(values), known.mean, known.deviation)


def test_the_mask_of_the_inputs_is_that_of_a_slow_textbook(images) -> None:
    model, inputs, data = images
    wanted = layer_of(model, inputs[:2], data)
    start = torch.rand_like(inputs[:2])
    mean, deviation = torch.full_like(inputs[0], 0.1), torch.full_like(inputs[0], 2.0)
    for size in (1000, 7):
        found = fitted_mask(
            wanted, model, inputs[:2], start, mean, deviation, 2, Noise(inputs[:2], 0), Chunks(size)
        )
        slow = torch.stack(
            [fitted_slowly(model, inputs[row], wanted, row, start[row], 2) for row in range(2)]
        )
        torch.testing.assert_close(found, slow, rtol=1e-6, atol=1e-8)
        assert bool(((found - start).abs() > 1e-3).any())


class Half(nn.Module):
    """A layer that returns the left half of its inputs, and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        read = self.layer(inputs[..., : SIDE // 2]).flatten(1).mean(1)
        return torch.stack([torch.zeros_like(read), read], 1)


def test_the_mask_rises_where_the_layer_needs_the_inputs_and_nowhere_else() -> None:
    torch.manual_seed(0)
    model, inputs = Half(), torch.rand(2, 1, SIDE, SIDE, dtype=torch.float64) + 2
    axes = layout_of(inputs)
    place = find_place("input_iba", model, inputs, axes, "layer")
    with torch.no_grad():
        values, _ = place.seen(model, inputs)
    one = torch.ones(())
    wanted = Layer(place, values, torch.ones_like(values), 0 * one.double(), one.double())
    start = torch.full_like(inputs, 0.2)
    found = fitted_mask(
        wanted, model, inputs, start, 0 * inputs[0], 0 * inputs[0] + 1, 8, Noise(inputs, 0), Chunks(1000)
    )
    left, right = found[..., : SIDE // 2], found[..., SIDE // 2 :]
    assert bool((left > 0.2).all())
    assert torch.equal(right, start[..., SIDE // 2 :])


def test_without_epochs_the_prior_is_the_first_bottleneck(images) -> None:
    """The third bottleneck of one input, with Adam written out, and one copy of the noise at a time."""
    model, inputs, data = images
    given = {"feature_steps": 3, "copies": 2, "data": data}
    found = input_iba(model, inputs, TARGETS, epochs=0, steps=4, **given)
    capacity = iba(model, inputs, TARGETS, steps=3, copies=2, smoothing=0, data=data)
    mean, deviation = data.mean((0, 2, 3))[:, None, None], data.std((0, 2, 3))[:, None, None]
    for row, (x, target) in enumerate(zip(inputs, TARGETS, strict=True)):
        noise = Noise(x[None], 0)
        for copies in (1, 2, 2, 2):
            noise.draw(copies, (5, 4, 4), x)
        prior = (capacity[row] / capacity[row].max()).expand_as(x)
        alpha = torch.full_like(x, 5.0).requires_grad_()
        first, second = torch.zeros_like(x), torch.zeros_like(x)
        scores = (x - mean) / deviation
        for step in range(1, 5):
            share = alpha.sigmoid()
            loss = 20 * conditional_divergence(alpha, prior, scores).mean()
            for one in noise.draw(2, tuple(x.shape), x)[0]:
                mixed = share * x + (1 - share) * (mean + deviation * one)
                loss = loss + functional.cross_entropy(model(mixed[None])[0], target) / 2
            (slope,) = torch.autograd.grad(loss, alpha)
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            rate, root = 1 / (1 - 0.9**step), math.sqrt(1 - 0.999**step)
            alpha = (alpha - rate * first / (second.sqrt() / root + 1e-8)).detach().requires_grad_()
        slow = conditional_divergence(alpha.detach(), prior, scores).sum(0) / math.log(2)
        torch.testing.assert_close(found[row, 0], slow, rtol=1e-6, atol=1e-9)


def test_maps_depend_neither_on_the_batch_nor_on_its_order(images) -> None:
    model, inputs, data = images
    before, generators = ModelState(model), generator_states()
    found = input_iba(model, inputs, TARGETS, data=data, **FEW)
    assert found.shape == (3, 1, SIDE, SIDE)
    order = torch.tensor([2, 0, 1])
    moved = input_iba(model, inputs[order], TARGETS[order], data=data, memory=1, **FEW)
    torch.testing.assert_close(moved, found[order], rtol=1e-7, atol=1e-10)
    assert before.changes() == []
    assert torch.equal(generators[2], generator_states()[2])


def test_what_critics_make_of_a_rounding_is_the_same_in_every_batch(images) -> None:
    """In float32, where a batch of another size is rounded otherwise."""
    model, inputs, data = images
    model, inputs, data = model.float(), inputs.float(), data.float()
    found = input_iba(model, inputs, TARGETS, data=data, **FEW)
    alone = [input_iba(model, inputs[row, None], TARGETS[row, None], data=data, **FEW) for row in range(3)]
    assert torch.equal(found, torch.cat(alone))


class Recurrent(nn.Module):
    """Tokens (N, T, E) through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.classifier = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.classifier(self.read(inputs)[0].mean(1))


def test_tokens_are_read_through_an_lstm() -> None:
    torch.manual_seed(0)
    model = Recurrent().double().eval()
    inputs, data = (torch.randn(count, 5, 4, dtype=torch.float64) for count in (2, 30))
    found = input_iba(model, inputs, TARGETS[:2], data=data, layout="embeddings", **FEW)
    assert found.shape == (2, 5, 1)
    assert bool((found >= 0).all())


def test_what_cannot_be_explained_is_told(images) -> None:
    model, inputs, data = images
    with pytest.raises(ValueError, match="input_iba: expected 10 inputs or more"):
        input_iba(model, inputs, TARGETS)
    with pytest.raises(ValueError, match="input_iba: expected epochs of at least 0, came -1"):
        input_iba(model, inputs, TARGETS, data=data, epochs=-1)
    with pytest.raises(
        ValueError, match="input_iba: layer='classifier': expected a layer with a cell, a patch"
    ):
        input_iba(model, inputs, TARGETS, data=data, layer="classifier", **FEW)


class Swapped(Critics):
    """The generator is moved to where its critics tell it best."""

    def __call__(self, values: Tensor, rows: slice) -> Tensor:
        found = super().__call__(values, rows)
        return -found if values.requires_grad else found


ADVERSARY = importlib.import_module("xattr_methods.information._adversary")
METHOD = importlib.import_module("xattr_methods.information.input_iba")
DEFECTS = {
    "critic and generator want the same": (
        lambda _: test_the_mask_rises_where_the_layer_needs_the_inputs_and_nowhere_else(),
        (ADVERSARY, "Critics", Swapped),
    ),
    "critics of a wide bound": (
        test_the_mask_of_the_inputs_is_that_of_a_slow_textbook, (ADVERSARY, "BOUND", 0.1)
    ),
    "the second bottleneck is no prior": (
        test_without_epochs_the_prior_is_the_first_bottleneck,
        (METHOD, "conditional_divergence", lambda logits, _, scores: divergence(*shares(logits), scores)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_of_public_code_are_caught(defect: str, images, monkeypatch: pytest.MonkeyPatch) -> None:
    holds, broken = DEFECTS[defect]
    monkeypatch.setattr(*broken)
    with pytest.raises(AssertionError):
        holds(images)
