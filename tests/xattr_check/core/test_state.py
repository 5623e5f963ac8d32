import random
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch
from subjects import TinyNetwork
from torch import nn

from xattr_check.core.state import (
    ModelState,
    full_precision,
    generator_states,
    preserved_generators,
    restore_generators,
)


def add_to_weight(model: nn.Module) -> None:
    with torch.no_grad():
        model.conv1.weight.add_(1)  # type: ignore[operator, union-attr]


def replace_weight(model: nn.Module) -> None:
    model.conv1.weight = nn.Parameter(torch.zeros(2, 3))  # type: ignore[assignment]


def replace_data(model: nn.Module) -> None:
    model.conv1.weight.data = torch.zeros(2, 3)  # type: ignore[assignment, union-attr]


def to_double(model: nn.Module) -> None:
    model.double()


def add_parameter(model: nn.Module) -> None:
    model.register_parameter("extra", nn.Parameter(torch.zeros(1)))


def drop_buffer(model: nn.Module) -> None:
    del model.norm1.running_mean


def run_in_train_mode(model: nn.Module) -> None:
    model.train()
    model(torch.randn(4, 3, 12, 12))
    model.eval()


def nan_weight(model: nn.Module) -> None:
    model.classifier.bias.data.fill_(float("nan"))  # type: ignore[operator, union-attr]


def replace_module(model: nn.Module) -> None:
    model.relu1 = nn.Softplus()


def add_module(model: nn.Module) -> None:
    model.add_module("probe", nn.Linear(2, 2))


def drop_module(model: nn.Module) -> None:
    del model.dropout


def reorder_modules(model: nn.Module) -> None:
    model.conv1 = model._modules.pop("conv1")  # type: ignore[assignment]


def switch_mode(model: nn.Module) -> None:
    model.dropout.train()  # type: ignore[union-attr]


def freeze(model: nn.Module) -> None:
    model.requires_grad_(False)


def forward_hook(model: nn.Module) -> None:
    model.relu1.register_forward_hook(lambda *_: None)  # type: ignore[union-attr]


def forward_pre_hook(model: nn.Module) -> None:
    model.register_forward_pre_hook(lambda *_: None)


def backward_hook(model: nn.Module) -> None:
    model.relu1.register_full_backward_hook(lambda *_: None)  # type: ignore[union-attr]


def remove_own_hook(model: nn.Module) -> None:
    model.relu2._forward_hooks.clear()  # type: ignore[operator, union-attr]


def own_forward(model: nn.Module) -> None:
    model.relu1.forward = torch.sigmoid  # type: ignore[assignment, union-attr]


def gradients(model: nn.Module) -> None:
    model(torch.randn(2, 3, 12, 12)).sum().backward()


def more_gradient(model: nn.Module) -> None:
    model.classifier.bias.grad.add_(1)  # type: ignore[operator, union-attr]


def clear_gradient(model: nn.Module) -> None:
    model.zero_grad(set_to_none=True)


CHANGES: dict[str, list[Callable[[nn.Module], None]]] = {
    "weights": [
        add_to_weight,
        replace_weight,
        replace_data,
        to_double,
        add_parameter,
        drop_buffer,
        run_in_train_mode,
        nan_weight,
        replace_module,
        add_module,
        drop_module,
        reorder_modules,
    ],
    "mode": [switch_mode, freeze],
    "hooks": [forward_hook, forward_pre_hook, backward_hook, remove_own_hook, own_forward],
    "gradients": [gradients, more_gradient, clear_gradient],
}


@pytest.fixture
def model() -> nn.Module:
    """A network with a hook and a gradient of its own, which are not the method's to remove."""
    network = TinyNetwork().eval()
    network.relu2.register_forward_hook(lambda *_: None)
    network.classifier.bias.grad = torch.ones(5)
    return network


@pytest.mark.parametrize(
    ("kind", "change"), [pytest.param(k, c, id=c.__name__) for k, changes in CHANGES.items() for c in changes]
)
def test_every_change_is_seen_and_put_back(
    kind: str, change: Callable[[nn.Module], None], model: nn.Module
) -> None:
    state = ModelState(model)
    weight = model.get_parameter("conv1.weight")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not any(state.differences().values())
    change(model)
    found = state.differences()
    assert found[kind]
    state.restore()
    assert not any(state.differences().values())
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert model.get_parameter("conv1.weight") is weight
    assert torch.equal(model.get_parameter("classifier.bias").grad, torch.ones(5))  # type: ignore[arg-type]
    assert torch.isfinite(model(torch.randn(2, 3, 12, 12))).all()


def test_each_change_is_of_one_kind(model: nn.Module) -> None:
    for kind, changes in CHANGES.items():
        for change in changes:
            state = ModelState(model)
            change(model)
            others = {name for name, names in state.differences().items() if names} - {kind}
            # A cast takes the gradients along.
            assert others <= ({"gradients"} if change is to_double else set()), change.__name__
            state.restore()


def test_names_say_what_changed(model: nn.Module) -> None:
    state = ModelState(model)
    add_to_weight(model)
    switch_mode(model)
    own_forward(model)
    gradients(model)
    found = state.differences()
    assert found["weights"] == ["conv1.weight"]
    assert found["mode"] == ["dropout"]
    assert found["hooks"] == ["relu1.forward"]
    assert "conv2.weight" in found["gradients"]


def test_a_nan_that_was_there_is_no_change(model: nn.Module) -> None:
    nan_weight(model)
    assert not any(ModelState(model).differences().values())


def test_generators_are_seeded_and_put_back() -> None:
    def numbers() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    states = generator_states()
    expected = numbers()
    restore_generators(states)
    with preserved_generators(2**62 + 1):
        first = numbers()
    with preserved_generators(2**62 + 1):
        assert numbers() == first
    with preserved_generators(2**62 + 2):
        other = numbers()
    assert all(one != two for one, two in zip(first, other, strict=True))
    assert numbers() == expected


def test_generators_are_put_back_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), preserved_generators(0):
        torch.rand(3) @ torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)


def test_switches_of_the_process_are_put_back() -> None:
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = True
        with full_precision(torch.device("cpu")):
            assert [switch.allow_tf32 for switch in switches] == [True, True]
        with suppress(KeyError), full_precision(torch.device("cuda:0")):
            assert [switch.allow_tf32 for switch in switches] == [False, False]
            raise KeyError
        assert [switch.allow_tf32 for switch in switches] == [True, True]
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed
