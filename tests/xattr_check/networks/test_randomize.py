import copy
from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from subjects import TinyNetwork, images
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from xattr_check import Invalid, Undefined
from xattr_check.core.state import ModelState
from xattr_check.networks.layers import Layer
from xattr_check.networks.randomize import cascade, every_layer, randomized


class Scale(nn.Module):
    """Own parameters without reset_parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.linspace(1, 2, 12).reshape(12, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


def deep(blocks: int) -> nn.Module:
    body = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(blocks)])
    return nn.Sequential(body, nn.Linear(4, 3))


@pytest.mark.parametrize("model", [TinyNetwork().eval(), deep(2), deep(9), nn.Sequential(nn.Linear(4, 3))])
def test_the_cascade_begins_at_the_classifier_and_covers_all(model: nn.Module) -> None:
    inputs = torch.randn(2, 3, 12, 12) if isinstance(model, TinyNetwork) else torch.randn(2, 4)
    found = every_layer(model, inputs)
    groups = cascade(model, inputs)
    assert groups[0] == found[:1]
    assert [layer for group in groups for layer in group] == found
    assert all(groups)
    assert len(groups) == min(6, len(found))


def wrappings(layers: list[nn.Module]) -> list[nn.Module]:
    """The same modules one after the other, in three children, and in one that is deep."""
    third = len(layers) // 3
    parts = [layers[:third], layers[third : 2 * third], layers[2 * third :]]
    nested: nn.Module = nn.Sequential(*layers)
    for _ in range(3):
        nested = nn.Sequential(nested)
    return [nn.Sequential(*layers), nn.Sequential(*(nn.Sequential(*part) for part in parts)), nested]


def convolutions() -> list[nn.Module]:
    body = [[nn.Conv2d(8 if n else 3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()] for n in range(6)]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)]
    return [layer for block in body for layer in block] + head


def attention() -> list[nn.Module]:
    blocks = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True) for _ in range(3)]
    return [nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), Turned(), *blocks, nn.LayerNorm(8), Mean(), nn.Linear(8, 4)]


class Turned(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.transpose(1, 2)


class Mean(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean(1)


def perceptron() -> list[nn.Module]:
    body = [[nn.Linear(24 if n else 432, 24), nn.ReLU()] for n in range(8)]
    return [nn.Flatten(), *(layer for pair in body for layer in pair), nn.Linear(24, 4)]


@pytest.mark.parametrize("make", [convolutions, attention, perceptron])
def test_steps_do_not_depend_on_how_modules_are_grouped(make: Callable[[], list[nn.Module]]) -> None:
    inputs = torch.randn(8, 3, 12, 12)
    flat, *others = (model.eval() for model in wrappings(make()))
    steps = list(accumulate(cascade(flat, inputs)))
    for other in others:
        again = list(accumulate(cascade(other, inputs)))
        assert [len(step) for step in again] == [len(step) for step in steps]
        for one, same in zip(steps, again, strict=True):
            with torch.no_grad():
                outputs = [
                    randomized(model, chosen, inputs, seed=3)(inputs)
                    for model, chosen in ((flat, one), (other, same))
                ]
            assert torch.equal(*outputs)


def test_a_model_without_weights_has_no_cascade() -> None:
    with pytest.raises(Undefined, match="the model has no parameters to randomise"):
        cascade(nn.ReLU(), torch.randn(2, 3))


def named(model: nn.Module, inputs: Tensor, *names: str) -> list[Layer]:
    return [layer for layer in every_layer(model, inputs) if layer.name in names]


def test_only_the_chosen_layers_change_and_the_original_does_not() -> None:
    subject = images()
    state = ModelState(subject.model)
    before = torch.get_rng_state()
    chosen = named(subject.model, subject.inputs, "classifier", "conv2")
    fresh = randomized(subject.model, chosen, subject.inputs, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(state.differences().values())
    changed = {
        name.split(".")[0]
        for (name, one), other in zip(subject.model.named_parameters(), fresh.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed == {"classifier", "conv2", "norm2"}
    assert not any(module.training for module in fresh.modules())
    again = randomized(subject.model, chosen, subject.inputs, seed=0)
    other = randomized(subject.model, chosen, subject.inputs, seed=1)
    assert torch.equal(again.state_dict()["conv2.weight"], fresh.state_dict()["conv2.weight"])
    assert not torch.equal(other.state_dict()["conv2.weight"], fresh.state_dict()["conv2.weight"])


class HalfReset(Scale):
    """Resets one of its two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.linspace(-1, 1, 12).reshape(12, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + self.shift

    def reset_parameters(self) -> None:
        nn.init.ones_(self.shift)


@pytest.mark.parametrize("module", [Scale(), HalfReset()])
def test_what_is_not_reset_is_permuted(module: Scale) -> None:
    model = nn.Sequential(module, nn.Flatten(), nn.Linear(12, 2))
    inputs = torch.randn(4, 12, 1, 1)
    fresh = randomized(model, every_layer(model, inputs), inputs, seed=0)
    before, after = model.state_dict()["0.factor"], fresh.state_dict()["0.factor"]
    assert not torch.equal(before, after)
    assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
    if isinstance(module, HalfReset):
        assert bool((fresh.state_dict()["0.shift"] == 1).all())


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, parametrizations.spectral_norm])
def test_the_spectral_norm_of_new_weights_is_one(norm: Callable[[nn.Module], nn.Module]) -> None:
    """Old singular vectors would make them ten times as large."""
    model = nn.Sequential(norm(nn.Linear(40, 40, bias=False)), nn.ReLU(), nn.Linear(40, 3))
    for _ in range(30):
        model.train()(torch.randn(1, 40))
    inputs = torch.randn(4, 40)
    fresh = randomized(model.eval(), every_layer(model, inputs), inputs, seed=0)
    weight = fresh.get_submodule("0").weight
    assert isinstance(weight, Tensor)
    assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.1)


class Deaf(nn.Module):
    """Its outputs are those of a table: they do not depend on its weights beyond rounding away."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, :3] + 0 * self.layer(inputs)


class Blown(nn.Module):
    """No number is finite under other weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.own = float(self.layer.weight.detach().sum())

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layer(inputs)
        return found / (float(self.layer.weight.sum()) == self.own)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Deaf(), "the model's outputs stay as they are when layer is randomised"),
        (Blown(), "the model's outputs are not finite when layer is randomised"),
    ],
)
def test_a_copy_that_is_no_other_function_is_no_fault_of_a_method(model: nn.Module, told: str) -> None:
    inputs = torch.randn(4, 4)
    with pytest.raises(Invalid) as caught:
        randomized(model, every_layer(model, inputs), inputs, seed=0)
    assert str(caught.value) == told


def test_statistics_of_batchnorm_are_estimated_anew() -> None:
    """Old ones would push the activations out of range, and kill the network behind them."""
    subject = images(count=40)
    blown_up = copy.deepcopy(subject.model)
    with torch.no_grad():
        blown_up.get_submodule("conv1").weight.mul_(50)  # type: ignore[operator]
        blown_up.get_submodule("norm1").running_var.mul_(2500)  # type: ignore[operator]
        blown_up.get_submodule("norm1").weight.mul_(2)  # type: ignore[operator]
        blown_up.get_submodule("norm1").bias.add_(1)  # type: ignore[operator]
    fresh = randomized(blown_up, every_layer(blown_up, subject.inputs), subject.inputs, seed=0)
    seen: list[Tensor] = []
    handle = fresh.get_submodule("norm1").register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        fresh(subject.inputs)
    handle.remove()
    assert seen[0].mean((0, 2, 3)).abs().max() < 0.05
    assert (seen[0].std((0, 2, 3)) - 1).abs().max() < 0.05
    norm = fresh.get_submodule("norm1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum == 0.1


def test_one_input_is_too_few_for_statistics_and_does_no_harm() -> None:
    subject = images(count=1)
    fresh = randomized(subject.model, named(subject.model, subject.inputs, "conv1"), subject.inputs, seed=0)
    assert torch.isfinite(fresh(subject.inputs)).all()
