"""Devices: which there are, and what each kind of accelerator has under a name of its own in torch."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Kinds of accelerator that compute in float32 at best.
WITHOUT_FLOAT64 = ("mps",)


def accelerator() -> str:
    """The kind of accelerator that torch sees here, `cuda`, `xpu` or `mps`; empty where there is none."""
    found = torch.accelerator.current_accelerator()
    return found.type if found is not None and torch.accelerator.is_available() else ""


def preferred() -> str:
    """The kind of device that `auto` stands for: an accelerator that has float64, else the CPU."""
    kind = accelerator()
    return kind if kind and kind not in WITHOUT_FLOAT64 else "cpu"


def device_names() -> list[str]:
    """All devices that torch sees here, the CPU first: cpu, cuda:0, cuda:1."""
    kind = accelerator()
    return ["cpu", *(f"{kind}:{index}" for index in range(torch.accelerator.device_count()) if kind)]


def take_share(number: int) -> str:
    """The accelerator that worker so-and-so of this machine has, which is the current one from now on."""
    index = number % torch.accelerator.device_count()
    # torch 2.6 has it under its older name alone.
    choose = getattr(torch.accelerator, "set_device_index", None) or torch.accelerator.set_device_idx
    choose(index)
    return f"{accelerator()}:{index}"


def synchronize(device: torch.device) -> None:
    """Wait for what a device was given to do; a CPU has done it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def release_memory() -> None:
    """Give memory that nothing holds back to the accelerator, where there is one."""
    if kind := accelerator():
        torch.get_device_module(kind).empty_cache()


def counts_memory(device: torch.device) -> bool:
    """Whether a device itself tells how many bytes were taken at most."""
    return hasattr(torch.get_device_module(device), "max_memory_allocated")


def _generators() -> Any | None:
    """What has the random generators of the accelerator, None where there is none or it has not begun."""
    kind = accelerator()
    module = torch.get_device_module(kind) if kind else None
    # MPS does not tell, and begins at once.
    return module if module is not None and getattr(module, "is_initialized", lambda: True)() else None


def random_states() -> list[Tensor]:
    """The states of the accelerator's global generators, one for each device."""
    module = _generators()
    if module is None:
        return []
    every = getattr(module, "get_rng_state_all", None)
    return every() if every else [module.get_rng_state()]


def restore_random_states(states: list[Tensor]) -> None:
    """Set the accelerator's global generators to states that `random_states` returned."""
    if states:
        module = torch.get_device_module(accelerator())
        every = getattr(module, "set_rng_state_all", None)
        every(states) if every else module.set_rng_state(states[0])


def seed_random(seed: int) -> None:
    """Seed the accelerator's global generators, on each of its devices."""
    if (module := _generators()) is not None:
        getattr(module, "manual_seed_all", module.manual_seed)(seed)


def tf32_switches(device: torch.device) -> list[Any]:
    """What has an `allow_tf32`: whether TF32 may stand for float32 on a device."""
    backends = torch.backends
    known: dict[str, list[Any]] = {
        "cuda": [backends.cuda.matmul, backends.cudnn],
        "xpu": [backends.mkldnn],
    }
    return [one for one in known.get(device.type, []) if hasattr(one, "allow_tf32")]


def in_float32(device: torch.device) -> AbstractContextManager[Any]:
    """A scope in which figures on a device that has no float64 are of float32."""
    return _Float32(device.type) if device.type in WITHOUT_FLOAT64 else nullcontext()


class _Float32(TorchFunctionMode):
    """Float32 in place of float64 for tensors on a kind of device that has none."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        given = [*args, *named.values()]
        if any(self._here(one) for one in given):
            func = Tensor.float if func is Tensor.double else func
            args = tuple(self._single(func, one) for one in args)
            named = {name: self._single(func, one) for name, one in named.items()}
        return func(*args, **named)

    def _here(self, value: Any) -> bool:
        """Whether a value is on the device, or names it."""
        if isinstance(value, str):
            return value.partition(":")[0] == self.kind
        device = value.device if isinstance(value, Tensor) else value
        return isinstance(device, torch.device) and device.type == self.kind

    def _single(self, func: Any, value: Any) -> Any:
        """What is asked for in float32, and a tensor that is brought to the device."""
        if value is torch.float64:
            return torch.float32
        brought = func is Tensor.to and isinstance(value, Tensor) and value.dtype == torch.float64
        return value.float() if brought else value
