"""Randomised copies of a model: what a method must not explain alike."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from xattr_check.core.context import chosen as some_rows
from xattr_check.core.state import preserved_generators
from xattr_check.errors import Invalid, Undefined
from xattr_check.networks.layers import Layer, copied, layers, weights_of

# Inputs on which it is seen whether outputs changed.
SEEN = 2
# Steps of the power iteration that finds the spectral norm of new weights.
POWER_STEPS = 15


def every_layer(model: nn.Module, inputs: Tensor) -> list[Layer]:
    """All layers, from the output to the input. Raises Undefined as `layers` does, and for no layer."""
    if not (found := layers(model, inputs)):
        raise Undefined("the model has no parameters to randomise")
    return found[::-1]


def cascade(model: nn.Module, inputs: Tensor, most: int = 6) -> list[list[Layer]]:
    """Groups of layers from the output to the input, to be randomised one after the other.

    The layer nearest to the output stands alone, because that is where the cascade begins; the others are
    runs of equal numbers of layers. Raises Undefined as `every_layer` does.
    """
    first, *rest = every_layer(model, inputs)
    steps = min(most - 1, len(rest))
    return [[first]] + [rest[i * len(rest) // steps : (i + 1) * len(rest) // steps] for i in range(steps)]


def randomized(model: nn.Module, chosen: Sequence[Layer], inputs: Tensor, seed: int) -> nn.Module:
    """A copy of model in which the weights of the chosen layers are as before training, and changed.

    A module with `reset_parameters` is re-initialised. What that leaves as it was, and what has none, is
    permuted, which keeps its scale, with random signs where there were both; what is the same everywhere is
    multiplied by numbers around 1. BatchNorm statistics are estimated anew on inputs (n, *F): old ones would
    push the activations out of range, and maps would be constant because the network is dead, not because
    the method is right. So are the singular vectors of a spectral norm.

    Raises Undefined for a weight that cannot be changed, Invalid where the outputs are what they were.
    """
    fresh = copied(model)
    names = [name for layer in chosen for name in layer.weights]
    with preserved_generators(seed), torch.no_grad():
        _replace(fresh, names)
        _find_spectral_norms(fresh, inputs)
        _estimate_statistics(fresh, inputs)
        _expect_other_outputs(model, fresh, inputs, [layer.name for layer in chosen])
    return fresh


def _replace(model: nn.Module, names: Sequence[str]) -> None:
    """New values for the weights of these names, and for no others."""
    before = {name: weight.detach().clone() for name, weight in weights_of(model).items()}
    modules = dict(model.named_modules())
    for holder in dict.fromkeys(name.rpartition(".")[0] for name in names):
        _reset(modules[holder])
    held = weights_of(model)
    for name, weight in held.items():
        if name not in names and not torch.equal(weight, before[name]):
            weight.copy_(before[name])
    for name in names:
        for change in (_permute, _scale):
            if torch.equal(held[name], before[name]):
                change(held[name])
        if torch.equal(held[name], before[name]):
            kind = str(before[name].dtype).removeprefix("torch.")
            raise Undefined(f"the model's weight {name!r} ({kind}) cannot be randomised")


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        with suppress(TypeError):  # where it asks for arguments
            reset()


def _permute(weight: Tensor) -> None:
    order = torch.randperm(weight.numel()).to(weight.device)
    values = weight.reshape(-1)[order]
    if weight.is_floating_point() and bool((weight < 0).any() & (weight > 0).any()):
        values = values * (2 * torch.randint(0, 2, values.shape) - 1).to(values)  # what had a mean loses it
    weight.copy_(values.reshape(weight.shape))


def _scale(weight: Tensor) -> None:
    """Multiply by numbers between a half and one and a half, zeros as if they were small."""
    if weight.is_floating_point():
        factors, small = (torch.rand(weight.shape).to(weight) for _ in range(2))
        weight.copy_(torch.where(weight == 0, 0.1 * (small - 0.5), weight * (0.5 + factors)))


def _find_spectral_norms(model: nn.Module, inputs: Tensor) -> None:
    """Let the spectral norms of a model follow its weights, as they do in training alone."""
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _SpectralNorm)
        or any(isinstance(hook, SpectralNorm) for hook in module._forward_pre_hooks.values())
    ]
    for norm in norms:
        norm.training = True
    for _ in range(POWER_STEPS if norms else 0):
        with some_rows(slice(1)):
            model(inputs[:1])
    for norm in norms:
        norm.training = False


def _estimate_statistics(model: nn.Module, inputs: Tensor) -> None:
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean over the batches
        norm.train()
    for some in torch.arange(len(inputs)).split(64):
        if len(some) > 1:
            with some_rows(some):
                model(inputs[some.to(inputs.device)])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _expect_other_outputs(model: nn.Module, fresh: nn.Module, inputs: Tensor, names: Iterable[str]) -> None:
    """Raise Invalid where a copy gives the outputs of the model, or none that is finite.

    Units behind a ReLU are silent for some inputs: all are asked where the first few tell no difference.
    """
    told = ", ".join(names)
    for some in (slice(SEEN), slice(None)):
        with some_rows(some):
            before, after = model(inputs[some]), fresh(inputs[some])
        if not torch.equal(before, after):
            break
    else:
        raise Invalid(f"the model's outputs stay as they are when {told} is randomised")
    if not bool(torch.isfinite(after).all()):
        raise Invalid(f"the model's outputs are not finite when {told} is randomised")
