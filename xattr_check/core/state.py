"""What a method may not change: the model it is given and the random generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
OWNED = ("_parameters", "_buffers", "_modules")


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal to the last bit; a NaN is no change from a NaN."""
    return _alike(one, other) and (
        torch.equal(one, other) or torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.device == other.device


class ModelState:
    """A snapshot of a model: weights, gradients, mode, hooks and submodules."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules())
        self.owned = {
            (name, kind): dict(getattr(module, kind))
            for name, module in self.modules.items()
            for kind in OWNED
        }
        self.hooks = {
            (name, kind): dict(getattr(module, kind))
            for name, module in self.modules.items()
            for kind in HOOKS
        }
        self.forwards = {name: vars(module).get("forward") for name, module in self.modules.items()}
        self.training = {name: module.training for name, module in self.modules.items()}
        self.parameters = dict(model.named_parameters())
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._named_tensors()}
        self.requires_grad = {name: parameter.requires_grad for name, parameter in self.parameters.items()}
        self.gradients = {
            name: None if parameter.grad is None else (parameter.grad, parameter.grad.detach().clone())
            for name, parameter in self.parameters.items()
        }

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()
        yield from self.model.named_buffers()

    def differences(self) -> dict[str, list[str]]:
        """Names of what changed, under `weights`, `gradients`, `mode` and `hooks`."""
        found: dict[str, list[str]] = {"weights": [], "gradients": [], "mode": [], "hooks": []}
        for name, module in self.modules.items():
            label = name or "model"
            if module.training != self.training[name]:
                found["mode"].append(label)
            if not _identical(module._modules, self.owned[name, "_modules"]):
                found["weights"].append(f"submodules of {label}")
            if not all(_identical(getattr(module, kind), self.hooks[name, kind]) for kind in HOOKS):
                found["hooks"].append(label)
            if vars(module).get("forward") is not self.forwards[name]:
                found["hooks"].append(f"{label}.forward")
        now = dict(self._named_tensors())
        found["weights"] += [
            name
            for name in {**self.tensors, **now}
            if name not in now or name not in self.tensors or not _same(now[name], self.tensors[name])
        ]
        for name, parameter in self.model.named_parameters():
            if not self._same_gradient(name, parameter.grad):
                found["gradients"].append(name)
            if parameter.requires_grad != self.requires_grad.get(name, parameter.requires_grad):
                found["mode"].append(f"{name}.requires_grad")
        return found

    def _same_gradient(self, name: str, now: Tensor | None) -> bool:
        before = self.gradients.get(name)
        if before is None or now is None:
            return before is None and now is None
        return _same(now, before[1])

    def restore(self) -> None:
        """Put everything back as it was."""
        for name, module in self.modules.items():
            for kind in OWNED:
                _put_back(getattr(module, kind), self.owned[name, kind])
            for kind in HOOKS:
                _put_back(getattr(module, kind), self.hooks[name, kind])
            if vars(module).get("forward") is not self.forwards[name]:
                module.__dict__.pop("forward", None)
                if self.forwards[name] is not None:
                    module.__dict__["forward"] = self.forwards[name]
            module.training = self.training[name]
        with torch.no_grad():
            for name, tensor in self._named_tensors():
                before = self.tensors[name]
                if not _alike(tensor, before):
                    tensor.data = before.clone()
                elif not _same(tensor, before):
                    tensor.copy_(before)
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(self.requires_grad[name])
            gradient = self.gradients[name]
            if gradient is None:
                parameter.grad = None
                continue
            kept, value = gradient
            if not _same(kept, value):
                kept.data = value.clone()
            parameter.grad = kept


def _identical(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    """The same objects under the same keys in the same order; tensors do not compare with `==`."""
    return list(one) == list(other) and all(one[key] is other[key] for key in one)


def _put_back(registry: dict[Any, Any], before: dict[Any, Any]) -> None:
    if not _identical(registry, before):
        registry.clear()
        registry.update(before)


def generator_states() -> tuple[Any, ...]:
    """States of Python's, NumPy's and torch's global generators, the CUDA ones included."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state(), cuda


def restore_generators(states: tuple[Any, ...]) -> None:
    """Set the global generators to states that `generator_states` returned."""
    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Not torch.manual_seed: where CUDA waits to be initialised, it records the stack of every call.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Multiply in full float32 on a CUDA device; the process's switches are put back at the end.

    TF32 rounds at 1e-3, which is what batch mates and a careless method may not change.
    """
    if device.type != "cuda":
        yield
        return
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = False
        yield
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed


@contextmanager
def preserved_generators(seed: int) -> Iterator[None]:
    """Seed the global generators, and put them back as they were at the end."""
    before = generator_states()
    seed_generators(seed)
    try:
        yield
    finally:
        restore_generators(before)
