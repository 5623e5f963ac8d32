"""What a method may not change: the model it is given and the random generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal to the last bit; a NaN is no change from a NaN."""
    return one.shape == other.shape and (
        torch.equal(one, other) or torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    )


class ModelState:
    """A snapshot of a model: weights, gradients, mode, hooks and submodules."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._named_tensors()}
        self.gradients = {name: parameter.grad is not None for name, parameter in model.named_parameters()}
        self.requires_grad = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        self.modules = dict(model.named_modules())
        self.children = {name: dict(module._modules) for name, module in self.modules.items()}
        self.training = {name: module.training for name, module in self.modules.items()}
        self.hooks = {
            (name, kind): set(getattr(module, kind))
            for name, module in self.modules.items()
            for kind in HOOKS
        }

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()
        yield from self.model.named_buffers()

    def differences(self) -> dict[str, list[str]]:
        """Names of what changed, under `weights`, `gradients`, `mode` and `hooks`."""
        found: dict[str, list[str]] = {"weights": [], "gradients": [], "mode": [], "hooks": []}
        for name, module in self.modules.items():
            if module.training != self.training[name]:
                found["mode"].append(name or "model")
            if dict(module._modules) != self.children[name]:
                found["weights"].append(f"submodules of {name or 'model'}")
            if any(set(getattr(module, kind)) - self.hooks[name, kind] for kind in HOOKS):
                found["hooks"].append(name or "model")
        now = dict(self._named_tensors())
        for name, before in self.tensors.items():
            if name not in now or not _same(now[name], before):
                found["weights"].append(name)
        for name, parameter in self.model.named_parameters():
            if (parameter.grad is not None) != self.gradients.get(name, False):
                found["gradients"].append(name)
            if parameter.requires_grad != self.requires_grad.get(name, parameter.requires_grad):
                found["mode"].append(f"{name}.requires_grad")
        return found

    def restore(self) -> None:
        """Put everything back as it was."""
        for name, module in self.modules.items():
            module._modules.clear()
            module._modules.update(self.children[name])
            module.training = self.training[name]
            for kind in HOOKS:
                hooks = getattr(module, kind)
                for key in set(hooks) - self.hooks[name, kind]:
                    del hooks[key]
        with torch.no_grad():
            for name, tensor in self._named_tensors():
                if name in self.tensors and not _same(tensor, self.tensors[name]):
                    tensor.copy_(self.tensors[name])
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self.requires_grad[name])
            if not self.gradients[name]:
                parameter.grad = None


def generator_states() -> tuple[Any, ...]:
    """States of Python's, NumPy's and torch's global generators, the CUDA ones included."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state(), cuda


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
    torch.manual_seed(seed)


@contextmanager
def preserved_generators(seed: int) -> Iterator[None]:
    """Seed the global generators, and put them back as they were at the end."""
    before = generator_states()
    seed_generators(seed)
    try:
        yield
    finally:
        restore_generators(before)
