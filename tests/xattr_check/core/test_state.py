import random
import weakref
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch
from spoiling import (
    ON_MODEL,
    add_to_weight,
    change_dict,
    change_eps,
    drop_attribute,
    equip,
    gradients,
    grow_list,
    keep_activation,
    nan_weight,
    own_forward,
    parametrized,
    replace_class,
    switch_mode,
    to_double,
)
from subjects import TinyNetwork
from torch import nn

from xattr_check.core.state import (
    ModelState,
    full_precision,
    generator_states,
    preserved_generators,
    restore_generators,
)


@pytest.fixture
def model() -> nn.Module:
    return equip(TinyNetwork().eval())


def expect_seen_and_put_back(kind: str, change: Callable[[nn.Module], None], model: nn.Module) -> None:
    state = ModelState(model)
    weight = model.get_parameter("conv1.weight")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not any(state.differences().values())
    change(model)
    found = state.differences()
    assert found[kind], change.__name__
    state.restore()
    assert not any(state.differences().values()), change.__name__
    after = model.state_dict()
    assert list(after) == list(before), change.__name__
    assert all(torch.equal(after[name], before[name]) for name in before), change.__name__
    assert model.get_parameter("conv1.weight") is weight
    assert torch.equal(model.get_parameter("classifier.bias").grad, torch.ones(5))  # type: ignore[arg-type]
    assert torch.isfinite(model(torch.randn(2, 3, 12, 12))).all()


@pytest.mark.parametrize("kind", ON_MODEL)
def test_every_change_is_seen_and_put_back(kind: str) -> None:
    for change in ON_MODEL[kind]:
        expect_seen_and_put_back(kind, change, equip(TinyNetwork().eval()))


def test_each_change_is_of_one_kind(model: nn.Module) -> None:
    for kind, changes in ON_MODEL.items():
        for change in changes:
            state = ModelState(model)
            change(model)
            others = {name for name, names in state.differences().items() if names} - {kind}
            # A cast takes the gradients along, and a parametrization the class.
            also = {to_double: {"gradients"}, parametrized: {"attributes"}}.get(change, set())
            assert others <= also, change.__name__
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


def test_words_say_how_an_attribute_changed(model: nn.Module) -> None:
    state = ModelState(model)
    for change in (change_eps, keep_activation, drop_attribute, replace_class, change_dict, grow_list):
        change(model)
    try:
        assert state.differences()["attributes"] == [
            "sizes[2] of model: new, 3",
            "options['scale'] of model: 1.0 became 3.0",
            "eps of norm1: 1e-05 became 3.0",
            "class of relu1: ReLU became Hardswish",
            "output of relu1: new, a tensor (3,)",
            "p of dropout: 0.5 is gone",
        ]
    finally:
        state.restore()


def test_activations_that_were_kept_are_let_go(model: nn.Module) -> None:
    """They are what fills the memory."""
    state = ModelState(model)
    keep_activation(model)
    activation = weakref.ref(model.relu1.output)  # type: ignore[arg-type, union-attr]
    state.restore()
    assert activation() is None


def test_an_equal_value_is_no_change(model: nn.Module) -> None:
    state = ModelState(model)
    model.norm1.eps = float("1e-05")  # type: ignore[assignment, union-attr]
    model.conv2.stride = tuple(int(side) for side in "22")  # type: ignore[assignment, union-attr]
    assert not any(state.differences().values())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
def test_models_that_are_compiled_or_not_yet_made_have_a_state() -> None:
    for model in (torch.jit.trace(TinyNetwork().eval(), torch.zeros(1, 3, 12, 12)), nn.LazyLinear(3)):
        state = ModelState(model)
        assert not any(state.differences().values())
        state.restore()


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
