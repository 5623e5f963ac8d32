"""What all of a process shares: modes, switches and functions of torch, and settings of Python and NumPy."""

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import backends
from torch.nn.modules import module as torch_modules
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack, _pop_mode

from xattr_check.core.contents import MISSING, Names, tell_change


@dataclass(frozen=True)
class Setting:
    """One thing that a process has one of.

    get: its value, which a later change does not reach. set: gives it a value that get returned.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]


def _attribute(owner: Any, name: str, label: str) -> Setting:
    return Setting(label, partial(getattr, owner, name), partial(setattr, owner, name))


def _contents(container: dict[Any, Any], label: str) -> Setting:
    def put(values: Mapping[Any, Any]) -> None:
        container.clear()
        container.update(values)

    return Setting(label, container.copy, put)


def _set_deterministic(values: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(values[0], warn_only=values[1])


# Guards that switch inference mode off again: the guard that began it is the method's, out of reach.
_guards: list[torch.inference_mode] = []


def _set_inference_mode(mode: bool) -> None:
    _guards.append(torch.inference_mode(mode))
    _guards[-1].__enter__()


def _default_device() -> torch.device | None:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _function_modes() -> list[Any]:
    """Without that of the default device, which has a line of its own."""
    return [mode for mode in _get_current_function_mode_stack() if not isinstance(mode, DeviceContext)]


def _set_function_modes(modes: list[Any]) -> None:
    stack = _get_current_function_mode_stack()
    for _ in stack:
        torch._C._pop_torch_function_stack()
    for mode in [*(mode for mode in stack if isinstance(mode, DeviceContext)), *modes]:
        torch._C._push_on_torch_function_stack(mode)


def _set_dispatch_modes(modes: list[Any]) -> None:
    for _ in _get_current_dispatch_mode_stack()[len(modes) :]:
        _pop_mode()


def _saved_tensor_hooks() -> Any:
    """The innermost pair of functions that tensors go through on their way to the backward pass, or None."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True)


def _set_saved_tensor_hooks(pair: Any) -> None:
    while (top := _saved_tensor_hooks()) is not None and top != pair:
        torch._C._autograd._pop_saved_tensors_default_hooks()
    if pair is not None and top is None:
        torch._C._autograd._push_saved_tensors_default_hooks(*pair)


def _autocast(device: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)


def _set_autocast(device: str, values: tuple[bool, torch.dtype]) -> None:
    torch.set_autocast_enabled(device, values[0])
    torch.set_autocast_dtype(device, values[1])
    torch.clear_autocast_cache()


_DENORMAL = 1e-310


def _flushes_denormals() -> bool:
    return _DENORMAL * 1.0 == 0.0


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # which tells the warnings that were given that they may be given again
    cast(list[Any], warnings.filters)[:] = filters


def _set_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update({name: text for name, text in variables.items() if os.environ.get(name) != text})


# By name: those that a program may catch.
_SIGNALS = {
    one.name: one
    for one in signal.Signals
    if one.name not in ("SIGKILL", "SIGSTOP") and not one.name.startswith("SIGRT")
}


def _handlers() -> dict[str, Any]:
    return {name: signal.getsignal(number) for name, number in _SIGNALS.items()}


def _set_handlers(handlers: dict[str, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for name, handler in handlers.items():
            if handler is not None and signal.getsignal(_SIGNALS[name]) is not handler:
                signal.signal(_SIGNALS[name], handler)


# The clocks of a process, but for that of real time, which belongs to the time limit.
_TIMERS = {name: getattr(signal, name) for name in ("ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, name)}


def _running_timers() -> dict[str, bool]:
    return {name: signal.getitimer(number)[0] > 0 for name, number in _TIMERS.items()}


def _stop_timers(running: dict[str, bool]) -> None:
    for name, number in _TIMERS.items():
        if not running[name]:
            signal.setitimer(number, 0)


# One line for each; what is not there in some version of torch is read as not there, and left alone.
SETTINGS = [
    Setting("inference mode", torch.is_inference_mode_enabled, _set_inference_mode),
    # After inference mode, which switches it as well.
    Setting("grad mode", torch.is_grad_enabled, torch._C._set_grad_enabled),
    Setting(
        "anomaly detection",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda values: torch.set_anomaly_enabled(*values),
    ),
    Setting(
        "multithreading of autograd",
        torch._C._is_multithreading_enabled,
        torch._C._set_multithreading_enabled,
    ),
    Setting("hooks of saved tensors", _saved_tensor_hooks, _set_saved_tensor_hooks),
    Setting("default device", _default_device, torch.set_default_device),
    Setting("torch's function modes", _function_modes, _set_function_modes),
    Setting("torch's dispatch modes", _get_current_dispatch_mode_stack, _set_dispatch_modes),
    Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting(
        "deterministic algorithms",
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        _set_deterministic,
    ),
    Setting("threads", torch.get_num_threads, torch.set_num_threads),
    Setting("flush of denormals", _flushes_denormals, torch.set_flush_denormal),
    Setting("autocast on the CPU", partial(_autocast, "cpu"), partial(_set_autocast, "cpu")),
    *(
        Setting(f"autocast on {name}", partial(_autocast, kind), partial(_set_autocast, kind))
        for kind, name in (("cuda", "CUDA"), ("xpu", "XPU"), ("mps", "MPS"))
    ),
    Setting("cache of autocast", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    Setting(
        "precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    *(
        _attribute(owner, name, f"{label}.{name}")
        for label, owner, names in (
            ("backends", backends, "fp32_precision"),
            *(
                (label, owner, "fp32_precision")
                for label, owner in (
                    ("cudnn.conv", getattr(backends.cudnn, "conv", None)),
                    ("cudnn.rnn", getattr(backends.cudnn, "rnn", None)),
                    ("cuda.matmul", backends.cuda.matmul),
                    ("mkldnn.conv", getattr(backends.mkldnn, "conv", None)),
                    ("mkldnn.rnn", getattr(backends.mkldnn, "rnn", None)),
                    ("mkldnn.matmul", getattr(backends.mkldnn, "matmul", None)),
                )
            ),
            ("cudnn", backends.cudnn, "enabled benchmark benchmark_limit deterministic allow_tf32"),
            ("mkldnn", backends.mkldnn, "enabled deterministic"),
            (
                "cuda.matmul",
                backends.cuda.matmul,
                "allow_tf32 allow_fp16_reduced_precision_reduction allow_bf16_reduced_precision_reduction",
            ),
            ("opt_einsum", backends.opt_einsum, "enabled strategy"),
        )
        for name in names.split()
    ),
    *(
        Setting(f"{name} attention", getattr(backends.cuda, f"{name}_sdp_enabled"), switch)
        for name, switch in (
            ("flash", backends.cuda.enable_flash_sdp),
            ("mem_efficient", backends.cuda.enable_mem_efficient_sdp),
            ("math", backends.cuda.enable_math_sdp),
        )
    ),
    *(
        _contents(value, f"torch's {name.removeprefix('_')}")
        for name, value in vars(torch_modules).items()
        if name.startswith("_global_") and isinstance(value, dict)
    ),
    _attribute(torch_modules, "_global_is_full_backward_hook", "torch's global_is_full_backward_hook"),
    Setting("numpy's error handling", np.geterr, lambda values: np.seterr(**values)),
    Setting("environment variables", lambda: dict(os.environ), _set_environment),
    Setting("working folder", os.getcwd, os.chdir),
    Setting("filters of warnings", lambda: list(warnings.filters), _set_filters),
    Setting("sys.path", lambda: list(sys.path), partial(sys.path.__setitem__, slice(None))),
    Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("garbage collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Setting("signal handlers", _handlers, _set_handlers),
    Setting("timers", _running_timers, _stop_timers),
]
# Whose functions models are made of.
NAMESPACES = {
    "torch.nn.functional": torch.nn.functional,
    "torch.autograd": torch.autograd,
    "torch": torch,
    "torch.Tensor": torch.Tensor,
}


def _read(setting: Setting) -> Any:
    try:
        return setting.get()
    except (AttributeError, OSError, RuntimeError, TypeError):  # a folder that is gone, another torch
        return MISSING


class ProcessState:
    """A snapshot of what a process shares, but for the random generators, which have a seed for each call."""

    def __init__(self) -> None:
        self.values = [_read(setting) for setting in SETTINGS]
        self.names = {label: Names(owner) for label, owner in NAMESPACES.items()}

    def _changed_settings(self) -> Iterator[tuple[Setting, Any, Any]]:
        for setting, before in zip(SETTINGS, self.values, strict=True):
            if (now := _read(setting)) != before:
                yield setting, before, now

    def changed(self) -> dict[str, str]:
        """What differs now, and how, by its name."""
        found = {one.name: _tell(one.name, before, now) for one, before, now in self._changed_settings()}
        for label, names in self.names.items():
            for name, before, now in names.changed():
                found[f"{label}.{name}"] = tell_change(f"{label}.{name}", before, now)
        return found

    def restore(self) -> None:
        """Put everything back as it was."""
        for names in self.names.values():
            names.restore()
        for setting, before, _ in self._changed_settings():
            if before is not MISSING:
                with suppress(OSError, RuntimeError):
                    setting.set(before)


def _tell(name: str, before: Any, now: Any) -> str:
    """How a setting changed: of values under names, the names alone, since a value may be a secret."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = {**before, **now}
        return f"{name}: " + ", ".join(str(key) for key in keys if before.get(key) != now.get(key))
    return tell_change(name, before, now)
