"""Every way that is known in which a method may leave something behind: on a model, and in its process."""

import gc
import os
import signal
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from subjects import TinyNetwork
from torch import backends, nn
from torch.nn.modules import module as torch_modules
from torch.overrides import BaseTorchFunctionMode
from torch.utils._python_dispatch import BaseTorchDispatchMode


class Config:
    """What a model is made by, as libraries of models keep it."""

    def __init__(self) -> None:
        self.scale = 1.0


def equip(network: nn.Module) -> nn.Module:
    """A TinyNetwork with attributes, and with hooks and a gradient of its own, which no method may remove."""
    network.sizes, network.options = [1, 2], {"scale": 1.0}  # type: ignore[assignment]
    network.config, network.hidden = Config(), [nn.Linear(2, 2)]  # type: ignore[assignment]
    network.table, network.array = torch.zeros(3), np.zeros(3)  # type: ignore[assignment]
    network.conv2.weight.register_hook(lambda gradient: gradient)  # type: ignore[operator, union-attr]
    network.relu2.register_forward_hook(lambda *_: None)  # type: ignore[operator, union-attr]
    network.classifier.bias.grad = torch.ones(5)  # type: ignore[union-attr]
    return network


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


# By what they change, as `ModelState.differences` tells it.
ON_MODEL: dict[str, list[Callable[[nn.Module], None]]] = {
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


kept: list[Any] = []


def enter(context: Any) -> None:
    """A context that is never left, and of which somebody holds on."""
    context.__enter__()
    kept.append(context)


# By what `ProcessState.changed` calls it.
IN_PROCESS: dict[str, Callable[[], object]] = {
    "grad mode": lambda: torch.set_grad_enabled(False),
    "inference mode": lambda: enter(torch.inference_mode()),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "multithreading of autograd": lambda: torch.autograd.set_multithreading_enabled(False),
    "hooks of saved tensors": (
        lambda: enter(torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, torch.zeros_like))
    ),
    "default device": lambda: torch.set_default_device("meta"),
    "torch's function modes": lambda: enter(BaseTorchFunctionMode()),
    "torch's dispatch modes": lambda: enter(BaseTorchDispatchMode()),
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "flush of denormals": lambda: torch.set_flush_denormal(True),
    "autocast on the CPU": lambda: enter(torch.autocast("cpu")),
    "cache of autocast": lambda: torch.set_autocast_cache_enabled(False),
    "precision of float32 products": lambda: torch.set_float32_matmul_precision("medium"),
    "cudnn.enabled": lambda: setattr(backends.cudnn, "enabled", False),
    "cudnn.benchmark": lambda: setattr(backends.cudnn, "benchmark", True),
    "cudnn.deterministic": lambda: setattr(backends.cudnn, "deterministic", True),
    "cudnn.allow_tf32": lambda: setattr(backends.cudnn, "allow_tf32", False),
    "cuda.matmul.allow_tf32": lambda: setattr(backends.cuda.matmul, "allow_tf32", True),
    "mkldnn.enabled": lambda: backends.mkldnn.set_flags(False),
    "math attention": lambda: backends.cuda.enable_math_sdp(False),
    "torch's global_forward_hooks": lambda: torch_modules.register_module_forward_hook(print),
    "torch's global_forward_pre_hooks": lambda: torch_modules.register_module_forward_pre_hook(print),
    "torch's global_backward_hooks": lambda: torch_modules.register_module_full_backward_hook(print),
    "torch's global_backward_pre_hooks": lambda: torch_modules.register_module_full_backward_pre_hook(print),
    "torch's global_parameter_registration_hooks": (
        lambda: torch_modules.register_module_parameter_registration_hook(print)
    ),
    "numpy's error handling": lambda: np.seterr(all="raise"),
    "environment variables": lambda: os.environ.update(XATTR_TEST="a secret"),
    "working folder": lambda: os.chdir("/"),
    "filters of warnings": lambda: warnings.simplefilter("ignore"),
    "sys.path": lambda: sys.path.insert(0, "nowhere"),
    "recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
    "garbage collector": gc.disable,
    "signal handlers": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "timers": lambda: signal.setitimer(signal.ITIMER_PROF, 1000),
    "torch.nn.functional.relu": lambda: setattr(torch.nn.functional, "relu", torch.tanh),
    "torch.autograd.grad": lambda: setattr(torch.autograd, "grad", lambda *_, **__: (torch.zeros(1),)),
    "torch.relu": lambda: setattr(torch, "relu", torch.tanh),
    "torch.Tensor.__add__": lambda: setattr(torch.Tensor, "__add__", torch.sub),
    "torch.Tensor.relu": lambda: setattr(torch.Tensor, "relu", torch.tanh),
}
