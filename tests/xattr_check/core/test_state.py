import random
import weakref
from collections import OrderedDict
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


def full_backward_flag(model: nn.Module) -> None:
    model.relu1._is_full_backward_hook = False  # type: ignore[union-attr]


def backward_pre_hook(model: nn.Module) -> None:
    model.relu1.register_full_backward_pre_hook(lambda *_: None)  # type: ignore[union-attr]


def hook_with_keywords(model: nn.Module) -> None:
    model.relu2._forward_hooks_with_kwargs[0] = True  # type: ignore[index, union-attr]


def hook_always_called(model: nn.Module) -> None:
    model.relu2._forward_hooks_always_called[0] = True  # type: ignore[index, union-attr]


def pre_hook_with_keywords(model: nn.Module) -> None:
    model.register_forward_pre_hook(lambda *_: None, with_kwargs=True)


def state_dict_hooks(model: nn.Module) -> None:
    model.register_state_dict_post_hook(lambda *_: None)
    model.register_state_dict_pre_hook(lambda *_: None)


def loading_hooks(model: nn.Module) -> None:
    model.register_load_state_dict_pre_hook(lambda *_: None)
    model.register_load_state_dict_post_hook(lambda *_: None)


def new_table_of_hooks(model: nn.Module) -> None:
    model.relu2._forward_hooks = OrderedDict()  # type: ignore[union-attr]


def tensor_hook(model: nn.Module) -> None:
    model.conv1.weight.register_hook(lambda gradient: 2 * gradient)  # type: ignore[operator, union-attr]


def hook_after_accumulation(model: nn.Module) -> None:
    model.conv1.weight.register_post_accumulate_grad_hook(lambda _: None)  # type: ignore[operator, union-attr]


def clear_tensor_hook(model: nn.Module) -> None:
    model.conv2.weight._backward_hooks.clear()  # type: ignore[operator, union-attr]


def class_forward(model: nn.Module) -> None:
    TinyNetwork.forward = lambda *_: torch.zeros(1, 5)  # type: ignore[method-assign]


def forward_of_torch(model: nn.Module) -> None:
    nn.ReLU.forward = lambda _, inputs: torch.tanh(inputs)  # type: ignore[method-assign]


def call_of_every_class(model: nn.Module) -> None:
    nn.BatchNorm2d.__call__ = lambda _, inputs: inputs  # type: ignore[method-assign]


def change_eps(model: nn.Module) -> None:
    model.norm1.eps = 3.0  # type: ignore[assignment, union-attr]


def change_stride(model: nn.Module) -> None:
    model.conv2.stride = (1, 1)  # type: ignore[assignment, union-attr]


def drop_attribute(model: nn.Module) -> None:
    del model.dropout.p


def in_place(model: nn.Module) -> None:
    model.relu1.inplace = True  # type: ignore[assignment, union-attr]


def keep_activation(model: nn.Module) -> None:
    model.relu1.output = torch.ones(3)  # type: ignore[assignment, union-attr]


def replace_class(model: nn.Module) -> None:
    model.relu1.__class__ = nn.Hardswish  # type: ignore[assignment]


def grow_list(model: nn.Module) -> None:
    model.sizes.append(3)  # type: ignore[operator, union-attr]


def change_dict(model: nn.Module) -> None:
    model.options["scale"] = 3.0  # type: ignore[index, operator]


def change_object(model: nn.Module) -> None:
    model.config.scale = 3.0  # type: ignore[union-attr]


def change_table(model: nn.Module) -> None:
    model.table.add_(1)  # type: ignore[operator, union-attr]


def change_array(model: nn.Module) -> None:
    model.array += 1  # type: ignore[assignment, operator]


def attribute_of_a_class(model: nn.Module) -> None:
    TinyNetwork.scale = 3.0  # type: ignore[attr-defined]


def attribute_of_a_weight(model: nn.Module) -> None:
    model.conv1.weight.importance = torch.ones(2)  # type: ignore[assignment, union-attr]


def hidden_weight(model: nn.Module) -> None:
    model.hidden[0].weight.data.zero_()  # type: ignore[index, union-attr]


def no_longer_saved(model: nn.Module) -> None:
    model.norm1._non_persistent_buffers_set.add("running_mean")  # type: ignore[operator, union-attr]


def other_strides(model: nn.Module) -> None:
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def parametrized(model: nn.Module) -> None:
    nn.utils.parametrize.register_parametrization(model.conv1, "weight", nn.Tanh())  # type: ignore[arg-type]


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
        hidden_weight,
        no_longer_saved,
        other_strides,
        parametrized,
    ],
    "mode": [switch_mode, freeze],
    "hooks": [
        forward_hook,
        forward_pre_hook,
        backward_hook,
        remove_own_hook,
        own_forward,
        full_backward_flag,
        backward_pre_hook,
        hook_with_keywords,
        hook_always_called,
        pre_hook_with_keywords,
        state_dict_hooks,
        loading_hooks,
        new_table_of_hooks,
        tensor_hook,
        hook_after_accumulation,
        clear_tensor_hook,
        class_forward,
        forward_of_torch,
        call_of_every_class,
    ],
    "attributes": [
        change_eps,
        change_stride,
        drop_attribute,
        in_place,
        keep_activation,
        replace_class,
        grow_list,
        change_dict,
        change_object,
        change_table,
        change_array,
        attribute_of_a_class,
        attribute_of_a_weight,
    ],
    "gradients": [gradients, more_gradient, clear_gradient],
}


class Config:
    """What a model is made by, as libraries of models keep it."""

    def __init__(self) -> None:
        self.scale = 1.0


@pytest.fixture
def model() -> nn.Module:
    """A network with attributes, and with hooks and a gradient of its own, which no method may remove."""
    network = TinyNetwork().eval()
    network.sizes, network.options = [1, 2], {"scale": 1.0}  # type: ignore[assignment]
    network.config, network.hidden = Config(), [nn.Linear(2, 2)]  # type: ignore[assignment]
    network.table, network.array = torch.zeros(3), np.zeros(3)  # type: ignore[assignment]
    network.conv2.weight.register_hook(lambda gradient: gradient)
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
