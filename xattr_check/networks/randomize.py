"""Randomised copies of a model: what a method must not explain alike."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def trainable_leaves(model: nn.Module, inputs: Tensor) -> list[str]:
    """Names of the modules that own parameters, in the order in which a forward pass on inputs calls them."""
    called: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if name not in called:
                called.append(name)

        return hook

    owners = {
        name: module
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }
    handles = [module.register_forward_pre_hook(note(name)) for name, module in owners.items()]
    try:
        with torch.inference_mode():
            model(inputs[:1])
    finally:
        for handle in handles:
            handle.remove()
    return called


def cascade(model: nn.Module, inputs: Tensor, most: int = 6) -> list[list[str]]:
    """Groups of modules from the output to the input, to be randomised one after the other.

    The model's top-level children where they are few, else runs of modules of equal length; the module
    nearest to the output always stands alone, because that is where the cascade begins.
    """
    leaves = trainable_leaves(model, inputs)[::-1]
    if not leaves:
        return []
    groups: dict[str, list[str]] = {}
    for name in leaves:
        groups.setdefault(name.split(".")[0], []).append(name)
    if 3 <= len(groups) <= most + 2 and len(next(iter(groups.values()))) == 1:
        return list(groups.values())
    rest = leaves[1:]
    steps = min(most - 1, len(rest))
    return [leaves[:1]] + [rest[i * len(rest) // steps : (i + 1) * len(rest) // steps] for i in range(steps)]


def randomized(model: nn.Module, names: list[str], inputs: Tensor, seed: int) -> nn.Module:
    """A copy of model in which the named modules are as before training.

    A module with `reset_parameters` is re-initialised; otherwise each of its parameters is permuted, which
    keeps its scale. BatchNorm statistics are estimated anew on inputs (n, *F): old ones would push the
    activations out of range, and maps would be constant because the network is dead, not because the method
    is right.
    """
    fresh = copy.deepcopy(model)
    modules = dict(fresh.named_modules())
    with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []), torch.no_grad():
        torch.manual_seed(seed)
        for name in names:
            reset = getattr(modules[name], "reset_parameters", None)
            if callable(reset):
                reset()
            else:
                for parameter in modules[name].parameters(recurse=False):
                    order = torch.randperm(parameter.numel()).to(parameter.device)
                    parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))
        norms = [m for m in modules.values() if isinstance(m, _BatchNorm) and m.track_running_stats]
        if norms:
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a cumulative mean over the batches
                norm.train()
            for batch in inputs.split(64):
                if len(batch) > 1:
                    fresh(batch)
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()
    return fresh
