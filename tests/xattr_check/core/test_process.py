"""What a process shares: every change is seen under its name, and put back."""

import gc
import os
import signal
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import backends
from torch.nn.modules import module as torch_modules
from torch.overrides import BaseTorchFunctionMode
from torch.utils._python_dispatch import BaseTorchDispatchMode

from xattr_check.core.process import SETTINGS, ProcessState

kept: list[Any] = []


def enter(context: Any) -> None:
    """A context that is never left, and of which somebody holds on."""
    context.__enter__()
    kept.append(context)


CHANGES: dict[str, Callable[[], object]] = {
    "grad mode": lambda: torch.set_grad_enabled(False),
    "inference mode": lambda: enter(torch.inference_mode()),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "multithreading of autograd": lambda: torch.autograd.set_multithreading_enabled(False),
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
    "torch.relu": lambda: setattr(torch, "relu", torch.tanh),
    "torch.Tensor.__add__": lambda: setattr(torch.Tensor, "__add__", torch.sub),
    "torch.Tensor.relu": lambda: setattr(torch.Tensor, "relu", torch.tanh),
}
# Of CUDA, or of versions of torch with another way to say the same.
ELSEWHERE = ("on CUDA", "fp32_", "reduced_precision", "opt_einsum", "attention", "benchmark_limit")


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_seen_and_put_back(name: str) -> None:
    state = ProcessState()
    assert state.changed() == {}
    try:
        CHANGES[name]()
        found = state.changed()
    finally:
        state.restore()
    assert found[name].startswith(f"{name}: ")
    assert state.changed() == {}


def test_every_setting_has_a_change_here() -> None:
    missing = {setting.name for setting in SETTINGS} - CHANGES.keys()
    companions = {"mkldnn.deterministic", *(name for name in missing if name.startswith("torch's global_"))}
    assert {name for name in missing - companions if not any(part in name for part in ELSEWHERE)} == set()


def test_what_is_under_a_name_is_not_told() -> None:
    """A variable of the environment may be a secret."""
    state = ProcessState()
    os.environ["XATTR_TEST"] = "a secret"
    try:
        assert state.changed() == {"environment variables": "environment variables: XATTR_TEST"}
    finally:
        state.restore()


def test_all_changes_at_once_are_put_back() -> None:
    state = ProcessState()
    try:
        for change in CHANGES.values():
            change()
    finally:
        state.restore()
    assert state.changed() == {}
    assert float(torch.relu(torch.tensor(-1.0)) + 1) == 1


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    state = ProcessState()
    os.chdir(tmp_path)
    gone.rmdir()
    assert "working folder" in state.changed()
    state.restore()


def test_functions_of_a_library_that_was_imported_meanwhile_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """It puts them there once, and needs them whenever it is called."""
    library = types.ModuleType("patching_library")
    monkeypatch.setattr(torch.nn.functional, "relu", torch.nn.functional.relu)
    state = ProcessState()
    monkeypatch.setitem(sys.modules, library.__name__, library)
    exec("def relu(inputs): return inputs", vars(library))
    torch.nn.functional.relu = library.relu
    assert state.changed() == {}
