"""Batch normalisation is folded where nothing else changes."""

import copy
from collections.abc import Callable

import pytest
import torch
from subjects import TinyNetwork, images
from torch import Tensor, nn

from xattr_check.generation.folding import folded


def frozen(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().requires_grad_(False)


def normalised() -> nn.Sequential:
    """A convolution and a normalisation that has seen something."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))
    for _ in range(10):
        made(torch.randn(16, 3, 12, 12) * 3 + 1)
    return made


class Short(nn.Module):
    """Other outputs for a batch of one: what a trace would not see."""

    def __init__(self) -> None:
        super().__init__()
        self.network = normalised()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.network(inputs)
        return found if inputs.shape[0] > 1 else found + 1


class Blind(nn.Module):
    """No gradient comes by half of the channels, which a trace does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.network = normalised()

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            half: Tensor = self.network(inputs)
        found: Tensor = self.network(inputs)
        return half + found


class Hooked(nn.Module):
    """A hook on a container, which does not outlive a trace but in what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.network = normalised()
        self.network.register_forward_hook(lambda module, args, output: 2 * output)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.network(inputs)
        return found


@pytest.mark.parametrize("make", [normalised, TinyNetwork, Hooked])
def test_it_computes_the_same_with_less(make: Callable[[], nn.Module]) -> None:
    model = frozen(images().model if make is TinyNetwork else make())
    found = folded(model, torch.randn(2, 3, 12, 12))
    assert any(isinstance(one, nn.BatchNorm2d) for one in model.modules())
    assert not any(isinstance(one, nn.BatchNorm2d) for one in found.modules())
    assert not any(one.requires_grad for one in found.parameters())
    inputs = torch.randn(7, 3, 12, 12)
    torch.testing.assert_close(found(inputs), model(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [Short, Blind])
def test_what_would_come_to_something_else_stays_as_it_is(make: Callable[[], nn.Module]) -> None:
    model = frozen(make())
    assert folded(model, torch.randn(2, 3, 12, 12)) is model


def test_what_has_nothing_to_fold_is_not_looked_at() -> None:
    class Counted(nn.Module):
        calls = 0

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls += 1
            return inputs.flatten(1)

    model = Counted()
    assert folded(model, torch.randn(2, 3, 12, 12)) is model
    assert model.calls == 0
