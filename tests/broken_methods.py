"""Attribution methods, each with one defect, and the check that must name it.

All take (model, inputs (N, C, H, W), targets (N,)); the defects of `broken_anywhere` are on inputs of any
layout. `CONTRACT`, `DEPENDENCE`, `MEANING`, `GENERATED` and `EXACT` hold them by name: what breaks the
rules of a call, what does not look at what it explains, what computes the wrong thing, what only features
show that are known to have no effect, and what claims an axiom and breaks it; `RETRAINING` what only its
pattern gives away.
"""

import random
from collections.abc import Callable
from itertools import product
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import xattr_check
from xattr_check import Subject
from xattr_check.storage.digest import derive_seed, digest_model, digest_rows
from xattr_methods import (
    edges,
    gradcam,
    gradient,
    guided_backprop,
    iba,
    integrated_gradients,
    occlusion,
    sobol_sbsa,
)
from xattr_methods.information._bottleneck import Noise

CONTRACT: dict[str, Callable[..., Any]] = {}
DEPENDENCE: dict[str, Callable[..., Any]] = {}
MEANING: dict[str, Callable[..., Any]] = {}
GENERATED: dict[str, Callable[..., Any]] = {}
EXACT: dict[str, Callable[..., Any]] = {}
RETRAINING: dict[str, Callable[..., Any]] = {}
# The check that must catch each, by name.
CAUGHT_BY: dict[str, str] = {}
# Other checks that may rightly fail or be in error on it.
MAY_FAIL: dict[str, frozenset[str]] = {}


def caught_by(group: dict[str, Callable[..., Any]], check: str, *others: str) -> Callable[..., Any]:
    """Enter a broken method, or a class of them, under the check that must catch it."""

    def enter(method: Any) -> Any:
        name = method.__name__
        group[name], CAUGHT_BY[name], MAY_FAIL[name] = method, check, frozenset(others)
        return method

    return enter


def broken(name: str) -> Callable[..., Any]:
    """A fresh instance of the broken method of that name, so that no state is carried over."""
    found = {**CONTRACT, **DEPENDENCE, **MEANING, **GENERATED, **EXACT, **RETRAINING}[name]
    return found() if isinstance(found, type) else found


def image_gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Gradient in one channel, (N, 1, H, W)."""
    return gradient(model, inputs, targets).sum(1, keepdim=True)


# What needs usable maps is in error where there are none.
UNUSABLE = ("deterministic", "batch_independent", "depends_on_input", "depends_on_model", "depends_on_target")


@caught_by(CONTRACT, "shape", *UNUSABLE)
def wrong_shape(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Sums over the channels and forgets to keep their dimension: (N, H, W)."""
    return gradient(model, inputs, targets).sum(1)


@caught_by(CONTRACT, "shape", *UNUSABLE)
def squeezed_batch(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Squeezes, which loses the batch dimension of a single input."""
    return gradient(model, inputs, targets).squeeze(0)


@caught_by(CONTRACT, "shape", "finite", "dtype_and_device", *UNUSABLE)
def list_of_maps(model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
    """Returns a list instead of a tensor."""
    return list(gradient(model, inputs, targets))


@caught_by(CONTRACT, "dtype_and_device", "finite", *UNUSABLE)
def wrong_dtype(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Whole numbers between -100 and 100."""
    maps = gradient(model, inputs, targets)
    return (100 * maps / maps.abs().max()).long()


@caught_by(CONTRACT, "dtype_and_device", "finite", *UNUSABLE)
def quantised(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """An 8-bit image in which negative values wrap around."""
    maps = gradient(model, inputs, targets)
    return (127 * maps / maps.abs().max()).to(torch.int16).to(torch.uint8)


@caught_by(CONTRACT, "dtype_and_device", "finite", *UNUSABLE)
def wrong_device(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Maps on another device than the inputs."""
    return gradient(model, inputs, targets).to("meta")


@caught_by(CONTRACT, "finite", *UNUSABLE)
def nan_for_one_input(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Divides by a range that is zero for the darkest input of the batch."""
    maps = gradient(model, inputs, targets)
    scale = torch.ones(len(maps), 1, 1, 1)
    scale[inputs.flatten(1).mean(1).argmin()] = 0
    return (maps - maps) / scale.to(maps) + maps


@caught_by(CONTRACT, "finite", *UNUSABLE)
def infinite(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Takes a logarithm of what may be zero."""
    return gradient(model, inputs, targets).abs().sub(1e-3).clamp_min(0).log()


@caught_by(CONTRACT, "preserves_inputs")
def modifies_inputs(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Adds its noise in place."""
    noise = torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(0))
    inputs += 0.01 * noise.to(inputs)
    return gradient(model, inputs, targets)


@caught_by(CONTRACT, "preserves_inputs")
def modifies_targets(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Counts the targets from one for the sake of its own table, in place."""
    maps = gradient(model, inputs, targets)
    targets += 1
    return maps


@caught_by(CONTRACT, "preserves_weights")
def modifies_weights(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Clips negative weights in place, and forgets to put them back."""
    maps = gradient(model, inputs, targets)
    with torch.no_grad():
        list(model.parameters())[-1].clamp_min_(0)
    return maps


@caught_by(CONTRACT, "preserves_weights", "batch_independent")
def moves_statistics(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A forward pass in train mode before the map: the BatchNorm statistics move."""
    maps = gradient(model, inputs, targets)
    model.train()
    with torch.no_grad():
        model(inputs)
    model.eval()
    return maps


@caught_by(CONTRACT, "preserves_weights")
def replaces_modules(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Replaces ReLUs by softer ones, and leaves them there."""
    maps = gradient(model, inputs, targets)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Softplus(beta=10))
    return maps


@caught_by(CONTRACT, "preserves_mode")
def leaves_train_mode(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Switches to train mode at the end, as if it had been there."""
    maps = gradient(model, inputs, targets)
    model.train()
    return maps


@caught_by(CONTRACT, "preserves_mode")
def freezes_weights(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Switches requires_grad of all parameters over to save memory."""
    for parameter in model.parameters():
        parameter.requires_grad_(not parameter.requires_grad)
    return gradient(model, inputs, targets)


@caught_by(CONTRACT, "preserves_hooks")
def leaves_hooks(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Registers a hook on every ReLU and removes none."""
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *_: None)
    return gradient(model, inputs, targets)


@caught_by(CONTRACT, "preserves_hooks")
def replaces_forward(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Puts a forward function of its own on a module."""
    maps = gradient(model, inputs, targets)
    relu = next(module for module in model.modules() if isinstance(module, nn.ReLU))
    relu.forward = torch.nn.functional.softplus  # type: ignore[assignment]
    return maps


@caught_by(CONTRACT, "preserves_hooks")
def leaves_tensor_hooks(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Registers a hook on every weight that doubles its gradient."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda arriving: 2 * arriving)
    return gradient(model, inputs, targets)


@caught_by(CONTRACT, "preserves_attributes")
def keeps_activations(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Keeps the output of every module on the module."""

    def keep(module: nn.Module, given: Any, output: Tensor) -> None:
        module.activation = output.detach()

    handles = [module.register_forward_hook(keep) for module in model.modules()]
    maps = gradient(model, inputs, targets)
    for handle in handles:
        handle.remove()
    return maps


@caught_by(CONTRACT, "preserves_attributes")
def changes_eps(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Rewrites BatchNorm for its own rules, and does not write it back."""
    maps = gradient(model, inputs, targets)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 3.0
    return maps


@caught_by(CONTRACT, "preserves_attributes")
def changes_classes(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Makes another activation of every ReLU, in place."""
    maps = gradient(model, inputs, targets)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.__class__ = nn.Hardswish  # type: ignore[assignment]
    return maps


@caught_by(CONTRACT, "preserves_process")
def switches_gradients_off(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Has no more need for gradients at the end, and says so to all of torch."""
    maps = gradient(model, inputs, targets)
    torch.set_grad_enabled(False)
    return maps


@caught_by(CONTRACT, "preserves_process")
def replaces_functions(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Puts a softer function in the place of torch's own."""
    maps = gradient(model, inputs, targets)
    nn.functional.relu = nn.functional.softplus  # type: ignore[assignment]
    return maps


@caught_by(CONTRACT, "preserves_gradients")
def leaves_gradients(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Calls backward, which fills .grad of every parameter."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    leaves = inputs.clone().requires_grad_()
    model(leaves).gather(1, targets[:, None]).sum().backward()
    assert leaves.grad is not None
    return leaves.grad


@caught_by(CONTRACT, "preserves_rng")
def reseeds(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Seeds torch's global generator so that its noise is always the same."""
    torch.manual_seed(0)
    noise = 0.05 * torch.randn(inputs.shape[1:])
    return gradient(model, inputs + noise.to(inputs), targets)


@caught_by(CONTRACT, "preserves_rng")
def reseeds_numpy(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Seeds NumPy's and Python's global generators."""
    np.random.seed(0)
    random.seed(0)
    return gradient(model, inputs, targets)


@caught_by(CONTRACT, "deterministic", "batch_independent")
def undeclared_noise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A gradient at a noisy input: another one at every call."""
    return gradient(model, inputs + 0.1 * torch.randn_like(inputs), targets)


@caught_by(CONTRACT, "deterministic", "batch_independent")
class StateAcrossCalls:
    """Adds to a total that it never resets."""

    def __init__(self) -> None:
        self.totals: dict[torch.Size, Tensor] = {}

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        total = self.totals.get(inputs.shape, 0) + gradient(model, inputs, targets)
        self.totals[inputs.shape] = total
        return total


@caught_by(CONTRACT, "deterministic", "batch_independent")
@xattr_check.stochastic
class NoiseWithoutSeed:
    """Declared stochastic, but its noise does not follow the global generators."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        noise = torch.randn(inputs.shape, generator=self.generator).to(inputs)
        return gradient(model, inputs + 0.1 * noise, targets)


# Bottlenecks of few steps, and so cheap that what passes is the model's, and not the first to be lost.
FEW: dict[str, Any] = {"steps": 6, "copies": 2, "beta": 0.001}


@caught_by(CONTRACT, "preserves_weights", "batch_independent")
def bottleneck_in_train_mode(model: nn.Module, inputs: Tensor, targets: Tensor, subject: Subject) -> Tensor:
    """Estimates the layer's statistics before it goes to eval mode: those of BatchNorm move with them."""
    model.train()
    with torch.no_grad():
        model(subject.inputs)
    model.eval()
    return iba(model, inputs, targets, subject=subject, **FEW)


@caught_by(CONTRACT, "dtype_and_device", "finite", *UNUSABLE)
def bits_as_bytes(model: nn.Module, inputs: Tensor, targets: Tensor, subject: Subject) -> Tensor:
    """Bits as the grey levels of an image, which begin anew where there are more than one of them."""
    return (255 * iba(model, inputs, targets, subject=subject, **FEW)).to(torch.uint8)


@caught_by(CONTRACT, "batch_independent")
def bottleneck_of_shared_noise(model: nn.Module, inputs: Tensor, targets: Tensor, subject: Subject) -> Tensor:
    """Draws the noise of a whole batch from one generator, which others in the batch move on."""

    class Shared(Noise):
        def draw(self, copies: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
            first = self.generators[0]
            return torch.randn(len(self.generators), copies, *shape, generator=first).to(like)

    with mock.patch("xattr_methods.information._bottleneck.Noise", Shared):
        return iba(model, inputs, targets, subject=subject, **FEW)


@caught_by(CONTRACT, "batch_independent")
def normalised_over_batch(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Divides by the largest value of the batch instead of the map."""
    maps = gradient(model, inputs, targets)
    return maps / maps.abs().max()


@caught_by(CONTRACT, "batch_independent")
def standardised_over_batch(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Subtracts the mean map of the batch."""
    maps = gradient(model, inputs, targets)
    return maps - 0.5 * maps.mean(0)


@caught_by(CONTRACT, "batch_independent")
def uses_batch_mate(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Takes the next input of the batch as the baseline."""
    return gradient(model, inputs, targets) * (inputs - inputs.roll(1, 0) / 2)


@caught_by(CONTRACT, "batch_independent")
def softmax_over_batch(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains a softmax over the batch dimension instead of over the classes."""
    leaves = inputs.clone().requires_grad_()
    chosen = model(leaves).log_softmax(0).gather(1, targets[:, None]).sum()
    (maps,) = torch.autograd.grad(chosen + 0.1 * model(leaves).gather(1, targets[:, None]).sum(), leaves)
    return maps


@caught_by(CONTRACT, "batch_independent")
def mean_over_batch(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the mean over the batch, which divides every map by the size of the batch."""
    leaves = inputs.clone().requires_grad_()
    (maps,) = torch.autograd.grad(model(leaves).gather(1, targets[:, None]).mean(), leaves)
    return maps


@caught_by(CONTRACT, "batch_independent")
@xattr_check.stochastic
def noise_and_batch_mean(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Declared stochastic, and divided by the size of the batch all the same."""
    maps = gradient(model, inputs + 0.05 * torch.randn_like(inputs), targets)
    return maps / len(inputs)


@caught_by(
    CONTRACT,
    "finite",
    "shape",
    "dtype_and_device",
    "preserves_inputs",
    "preserves_weights",
    "preserves_mode",
    "preserves_hooks",
    "preserves_attributes",
    "preserves_process",
    "preserves_gradients",
    "preserves_rng",
    *UNUSABLE,
)
def raises_on_some_inputs(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cannot explain about half of all inputs."""
    if bool((inputs.flatten(1).double().sum(1) * 1000 % 2 < 1).any()):
        raise RuntimeError("no path from this input to its baseline")
    return gradient(model, inputs, targets)


@caught_by(DEPENDENCE, "depends_on_input", "depends_on_model", "depends_on_target")
def constant_map(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A ramp, whatever is asked."""
    return (
        torch.linspace(-1, 1, inputs[0].numel())
        .reshape(inputs[:1].shape)
        .to(inputs)
        .repeat(len(inputs), 1, 1, 1)
    )


@caught_by(DEPENDENCE, "depends_on_input", "depends_on_model", "depends_on_target")
def zero_map(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Detaches before the backward pass and returns the zeros it started from."""
    return torch.zeros_like(inputs)


@caught_by(DEPENDENCE, "depends_on_input")
def classifier_weights(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Spreads the classifier's weights for the target over the picture: no input is looked at."""
    layer = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    rows = layer.weight.detach()[targets]
    maps = nn.functional.interpolate(rows[:, None], size=inputs[0, 0].numel(), mode="linear")
    return maps.reshape(len(inputs), 1, *inputs.shape[2:])


@caught_by(DEPENDENCE, "depends_on_model", "depends_on_target")
def ignores_model(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """How far each pixel is from the mean of its own image."""
    return inputs - inputs.mean((2, 3), keepdim=True)


@caught_by(DEPENDENCE, "depends_on_model")
def edges_in_disguise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """An edge detector times the target's logit: it changes with the model and the target, by a factor."""
    with torch.no_grad():
        logits = model(inputs).gather(1, targets[:, None])
    return edges(model, inputs, targets) * logits[:, :, None, None]


@caught_by(DEPENDENCE, "depends_on_target")
def ignores_target(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the class that the model predicts, whichever is asked for."""
    with torch.no_grad():
        predicted = model(inputs).argmax(1)
    return gradient(model, inputs, predicted)


@caught_by(DEPENDENCE, "depends_on_target")
def predicted_times_probability(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the predicted class, times the probability of the target."""
    with torch.no_grad():
        probability = model(inputs).softmax(1).gather(1, targets[:, None])
    return ignores_target(model, inputs, targets) * probability[:, :, None, None]


@caught_by(DEPENDENCE, "depends_on_target")
def sum_over_outputs(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the sum over all classes, because backward was called on all logits."""
    leaves = inputs.clone().requires_grad_()
    (maps,) = torch.autograd.grad(model(leaves).sum(), leaves)
    return maps


@caught_by(DEPENDENCE, "depends_on_model", "depends_on_target", "depends_on_input", "batch_independent")
class CachedFirstAnswer:
    """Keeps the first map for each shape of its inputs, and returns it for ever."""

    def __init__(self) -> None:
        self.answers: dict[torch.Size, Tensor] = {}

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        if inputs.shape not in self.answers:
            self.answers[inputs.shape] = gradient(model, inputs, targets)
        return self.answers[inputs.shape]


@caught_by(MEANING, "insertion", "deletion", "sensitivity_n")
def wrong_target(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Counts the targets from one: explains target + 1."""
    classes = model(inputs[:1]).shape[1]
    return integrated_gradients(model, inputs, (targets + 1) % classes)


@caught_by(MEANING, "insertion", "deletion", "sensitivity_n")
def sign_flipped(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the loss, which falls where the evidence grows."""
    return -gradcam(model, inputs, targets)


@caught_by(MEANING, "completeness")
@xattr_check.claims("completeness")
def absolute_value(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Claims completeness and returns magnitudes."""
    return integrated_gradients(model, inputs, targets).abs()


@caught_by(MEANING, "insertion", "deletion", "sensitivity_n")
def transposed(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Swaps height and width."""
    return gradcam(model, inputs, targets).transpose(2, 3).contiguous()


@caught_by(MEANING, "insertion", "deletion", "sensitivity_n")
def shifted(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Moves the map by a quarter of the width, as a wrong padding does."""
    return gradcam(model, inputs, targets).roll(inputs.shape[-1] // 4, -1)


@caught_by(MEANING, "insertion", "deletion", "sensitivity_n")
def flipped(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Upside down: rows counted from the bottom."""
    return gradcam(model, inputs, targets).flip(2)


@caught_by(MEANING, "completeness", "sensitivity_n")
@xattr_check.claims("completeness")
def one_channel(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the first channel for all of them."""
    return integrated_gradients(model, inputs, targets)[:, :1].contiguous()


@caught_by(MEANING, "completeness", "sensitivity_n", "insertion", "deletion")
@xattr_check.claims("completeness")
def forgets_input_difference(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Integrated gradients without the factor x - x'."""
    points = (torch.arange(20) + 0.5) / 20
    return torch.stack([gradient(model, float(p) * inputs, targets) for p in points]).mean(0)


@caught_by(MEANING, "completeness")
@xattr_check.claims("completeness")
def forgets_steps(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Integrated gradients without the factor 1 / steps."""
    return 50 * integrated_gradients(model, inputs, targets)


@caught_by(MEANING, "completeness")
@xattr_check.claims("completeness")
def half_the_path(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Integrates the second half of the path only."""
    points = 0.5 + (torch.arange(20) + 0.5) / 40
    mean = torch.stack([gradient(model, float(p) * inputs, targets) for p in points]).mean(0)
    return mean * inputs


@caught_by(MEANING, "sensitivity_n", "insertion", "deletion")
def wrong_layer_weights(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM whose weights are the gradients of the next channel."""
    kept: list[Tensor] = []
    layer = [module for module in model.modules() if isinstance(module, nn.Conv2d)][-1]
    handle = layer.register_forward_hook(lambda _module, _args, output: kept.append(output))
    try:
        logits = model(inputs.clone().requires_grad_())
    finally:
        handle.remove()
    (gradients,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), kept[0])
    weights = gradients.mean((2, 3), keepdim=True).roll(1, 1)
    cells = (weights * kept[0].detach()).sum(1, keepdim=True).clamp_min(0)
    return nn.functional.interpolate(cells, size=inputs.shape[2:], mode="bilinear")


@caught_by(
    MEANING,
    *("parameter_randomization", "parameter_randomization_independent", "retrained", "data_randomization"),
    *("sensitivity_n", "insertion", "deletion"),
)
def mostly_edges(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """An edge detector with a little of the gradient, for the look of it."""
    parts = edges(model, inputs, targets), image_gradient(model, inputs, targets)
    norms = [part.flatten(1).norm(dim=1)[:, None, None, None] for part in parts]
    return parts[0] / norms[0] + 0.1 * parts[1] / norms[1]


@caught_by(MEANING, "sensitivity_n", "insertion", "deletion")
def wrapped_around(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Stored as an 8-bit image and read back: what was negative is now the largest."""
    maps = image_gradient(model, inputs, targets)
    scaled = 127 * maps / maps.flatten(1).abs().amax(1)[:, None, None, None]
    return scaled.to(torch.int16).to(torch.uint8).to(inputs)


@caught_by(
    MEANING,
    *("sensitivity_n", "parameter_randomization", "parameter_randomization_independent"),
    *("data_randomization", "insertion", "deletion"),
)
def first_layer_only(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Magnitude of the first convolution's output, times the target's logit: no deeper layer is read."""
    kept: list[Tensor] = []
    layer = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    handle = layer.register_forward_hook(lambda _module, _args, output: kept.append(output))
    try:
        with torch.no_grad():
            logits = model(inputs)
    finally:
        handle.remove()
    cells = kept[0].abs().mean(1, keepdim=True) * logits.gather(1, targets[:, None])[:, :, None, None]
    return nn.functional.interpolate(cells, size=inputs.shape[2:], mode="bilinear")


@caught_by(
    MEANING,
    *("parameter_randomization", "parameter_randomization_independent", "data_randomization", "retrained"),
    *("sensitivity_n", "insertion", "deletion"),
)
def noise_of_the_logits(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Noise that is seeded by the logits: another one for every input, model and target, and nothing else."""
    with torch.no_grad():
        logits = model(inputs).gather(1, targets[:, None])
    seeds = [int(1e6 * abs(float(logit))) for logit in logits]
    rows = [torch.randn(inputs.shape[2:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)[:, None].to(inputs)


@caught_by(MEANING, "edge_likeness")
def edges_times_gradcam(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM with the detail of an edge detector, so that it looks sharp: right where it is coarse."""
    return edges(model, inputs, targets) * gradcam(model, inputs, targets)


@caught_by(
    MEANING,
    *("edge_likeness", "sensitivity_n", "insertion", "deletion"),
    *("parameter_randomization", "parameter_randomization_independent", "data_randomization", "retrained"),
)
def edges_on_top(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM and an edge detector, as much of the one as of the other."""
    parts = edges(model, inputs, targets), gradcam(model, inputs, targets)
    norms = [part.flatten(1).norm(dim=1)[:, None, None, None].clamp_min(1e-12) for part in parts]
    return parts[0] / norms[0] + parts[1] / norms[1]


@caught_by(MEANING, "random_logit")
def mostly_the_predicted(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the class that the model predicts, with a tenth of the target's, so that it depends on it."""
    with torch.no_grad():
        predicted = model(inputs).argmax(1)
    slopes = gradient(model, inputs, predicted) + 0.1 * gradient(model, inputs, targets)
    return inputs * slopes


def _seeded_by_weights(model: nn.Module, inputs: Tensor) -> Tensor:
    """(N, 1, H, W) noise of each input's own, that other weights make another one."""
    weights = digest_model(model)
    return torch.stack(
        [
            torch.randn(inputs.shape[2:], generator=torch.Generator().manual_seed(derive_seed(weights, row)))
            for row in digest_rows(inputs)
        ]
    )[:, None].to(inputs)


@caught_by(MEANING, "parameter_randomization", "parameter_randomization_independent", "data_randomization")
@xattr_check.sensitivity
def signs_of_the_gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Guided backpropagation in magnitude, which nothing but the sign of the gradient hides."""
    return guided_backprop(model, inputs, targets).abs() * gradient(model, inputs, targets).sign()


@caught_by(MEANING, "parameter_randomization", "parameter_randomization_independent", "data_randomization")
@xattr_check.sensitivity
def signs_of_the_weights(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM with signs that are drawn anew for other weights: they are no direction."""
    return gradcam(model, inputs, targets) * _seeded_by_weights(model, inputs).sign()


@caught_by(
    MEANING,
    *("parameter_randomization", "parameter_randomization_independent", "data_randomization", "retrained"),
    *("sensitivity_n", "insertion", "deletion"),
)
def noise_of_the_weights(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Guided backpropagation under noise that is drawn anew for other weights."""
    maps = guided_backprop(model, inputs, targets).sum(1, keepdim=True)
    return maps + 1.5 * maps.flatten(1).std(1)[:, None, None, None] * _seeded_by_weights(model, inputs)


def _cam_parts(model: nn.Module, inputs: Tensor, chosen: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Output of the last 3×3 convolution's block and the gradient of a function of the logits there."""
    kept: list[Tensor] = []
    layer = [module for module in model.modules() if isinstance(module, nn.ReLU)][-1]
    handle = layer.register_forward_hook(lambda _module, _args, output: kept.append(output))
    try:
        logits = model(inputs.clone().requires_grad_())
    finally:
        handle.remove()
    (gradients,) = torch.autograd.grad(chosen(logits).sum(), kept[-1])
    return kept[-1].detach(), gradients


def _upsampled(cells: Tensor, inputs: Tensor) -> Tensor:
    return nn.functional.interpolate(cells, size=inputs.shape[2:], mode="bilinear")


@caught_by(GENERATED, "class_sensitivity_double", "null_feature", "class_sensitivity_single")
def layer_cam_of_the_next_class(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """LayerCAM for target + 1: one object an image looks alike under any class."""
    activation, gradients = _cam_parts(
        model, inputs, lambda logits: logits.gather(1, (targets[:, None] + 1) % logits.shape[1])
    )
    return _upsampled((gradients.clamp_min(0) * activation).sum(1, keepdim=True), inputs)


@caught_by(GENERATED, "class_sensitivity_double", "null_feature", "class_sensitivity_single")
def activations_times_logit(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The mean activation, times the target's logit: it depends on the target, by a factor."""
    activation, _ = _cam_parts(model, inputs, lambda logits: logits)
    with torch.no_grad():
        logits = model(inputs).gather(1, targets[:, None])[:, :, None, None]
    return _upsampled(activation.mean(1, keepdim=True), inputs) * logits


@caught_by(GENERATED, "null_feature", "class_sensitivity_double", "class_sensitivity_single")
def probability_instead_of_logit(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the log-probability, which every other class lowers, and not the logit."""
    activation, gradients = _cam_parts(
        model, inputs, lambda logits: logits.log_softmax(1).gather(1, targets[:, None])
    )
    return _upsampled((gradients * activation).sum(1, keepdim=True), inputs)


@caught_by(GENERATED, "class_sensitivity_double", "null_feature", "class_sensitivity_single")
def magnitude_of_the_weights(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM with the magnitude of its weights: evidence against the target counts for it."""
    activation, gradients = _cam_parts(model, inputs, lambda logits: logits.gather(1, targets[:, None]))
    weights = gradients.mean((2, 3), keepdim=True).abs()
    return _upsampled((weights * activation).sum(1, keepdim=True), inputs)


@caught_by(GENERATED, "class_sensitivity_double", "null_feature", "class_sensitivity_single")
def two_best_classes(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM of the two classes that the model finds likeliest, with a little of the target's."""
    with torch.no_grad():
        first, second = model(inputs).topk(2).indices.unbind(1)
    return sum(
        weight * gradcam(model, inputs, classes)
        for weight, classes in ((1.0, first), (1.0, second), (0.2, targets))
    )


@caught_by(GENERATED, "saturation", "class_sensitivity_single")
def loudest_place(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM, of which only the surroundings of its maximum are kept, a quarter of the width around it."""
    maps = gradcam(model, inputs, targets)
    height, width = maps.shape[2:]
    best = maps.flatten(1).argmax(1)
    rows = (torch.arange(height) - best[:, None] // width).abs()
    columns = (torch.arange(width) - best[:, None] % width).abs()
    near = torch.maximum(rows[:, :, None], columns[:, None, :]) <= width // 8
    return maps * near[:, None].to(maps)


@caught_by(GENERATED, "suppression")
def magnitude_of_the_effect(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """How much the output changes without a square, whether it falls or rises."""
    return occlusion(model, inputs, targets).abs()


@caught_by(GENERATED, "suppression")
def magnitude_of_gradcam(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM that is not rectified, of which the magnitude is shown."""
    activation, gradients = _cam_parts(model, inputs, lambda logits: logits.gather(1, targets[:, None]))
    weights = gradients.mean((2, 3), keepdim=True)
    return _upsampled((weights * activation).sum(1, keepdim=True).abs(), inputs)


@caught_by(GENERATED, "synergy", "null_feature", "class_sensitivity_double", "class_sensitivity_single")
def one_cell_at_a_time(model: nn.Module, inputs: Tensor, targets: Tensor, cell: int = 4) -> Tensor:
    """What each cell alone does to the output of an empty image: none is ever seen beside another."""
    height, width = inputs.shape[2:]
    maps = torch.zeros_like(inputs[:, :1])
    with torch.no_grad():
        empty = model(torch.zeros_like(inputs)).gather(1, targets[:, None])
        for top, left in product(range(0, height, cell), range(0, width, cell)):
            inside = (..., slice(top, top + cell), slice(left, left + cell))
            shown = torch.zeros_like(inputs)
            shown[inside] = inputs[inside]
            alone = model(shown).gather(1, targets[:, None]) - empty
            maps[inside] = alone[:, :, None, None] / cell**2
    return maps


@caught_by(GENERATED, "null_feature", "class_sensitivity_double", "exchange")
def brighter_where_surer(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The input's magnitude times the target's probability: it tells how much, and nothing of where."""
    with torch.no_grad():
        sure = model(inputs).softmax(1).gather(1, targets[:, None])
    return inputs.abs().sum(1, keepdim=True) * sure[:, :, None, None]


@caught_by(GENERATED, "graded", "class_sensitivity_single", "saturation")
def above_its_mean(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM as a mask of what is above half its mean: what matters more is not told from what matters."""
    maps = gradcam(model, inputs, targets)
    return (maps > 0.5 * maps.mean((1, 2, 3), keepdim=True)).to(maps)


@caught_by(GENERATED, "exchange", "null_feature", "class_sensitivity_double", "class_sensitivity_single")
def where_it_usually_is(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """GradCAM, and more to the right of the image, where the author's objects were."""
    maps = gradcam(model, inputs, targets)
    usual = torch.linspace(0, 8, inputs.shape[-1]).to(maps)
    return maps / maps.mean((1, 2, 3), keepdim=True).clamp_min(1e-12) + usual


@caught_by(EXACT, "dummy")
@xattr_check.claims("dummy")
def blurred_map(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Smooths the map for the eye, over the borders of what matters."""
    return nn.functional.avg_pool2d(gradient(model, inputs, targets), 3, 1, 1)


@caught_by(EXACT, "dummy", "linearity")
@xattr_check.claims("dummy", "linearity")
def log_probability(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A gradient of the log-probability, with a little everywhere so that no colour is missing."""
    leaves = inputs.clone().requires_grad_()
    (maps,) = torch.autograd.grad(model(leaves).log_softmax(1).gather(1, targets[:, None]).sum(), leaves)
    return maps + 0.01 * maps.flatten(1).abs().amax(1)[:, None, None, None]


@caught_by(EXACT, "sensitivity")
@xattr_check.claims("sensitivity")
def gradient_where_flat(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Input times gradient: nothing where the output is flat, however much the input did to get there."""
    return inputs * gradient(model, inputs, targets)


@caught_by(EXACT, "linearity")
@xattr_check.claims("linearity")
def largest_is_one(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Divides each map by its largest value."""
    maps = gradient(model, inputs, targets)
    return maps / maps.flatten(1).abs().amax(1)[:, None, None, None]


@caught_by(EXACT, "linearity")
@xattr_check.claims("linearity")
def positive_part(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Drops what speaks against the target."""
    return integrated_gradients(model, inputs, targets, steps=10).clamp_min(0)


@caught_by(EXACT, "symmetry")
@xattr_check.claims("symmetry")
def one_after_the_other(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Shows columns of pixels from left to right, and gives each what the output gains."""
    width = inputs.shape[-1]
    maps = torch.empty_like(inputs[:, :1])
    before = None
    with torch.no_grad():
        for shown in range(width + 1):
            kept = inputs * (torch.arange(width) < shown).to(inputs)
            now = model(kept).gather(1, targets[:, None])[:, :, None]
            if before is not None:
                maps[..., shown - 1] = (now - before) / inputs.shape[2]
            before = now
    return maps


class _Leaky(TorchFunctionMode):
    """Gives every ReLU a slope below zero on the way back."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in (nn.functional.relu, torch.relu):
            soft = nn.functional.leaky_relu(args[0], 0.1)
            return soft + (args[0].clamp_min(0) - soft).detach()
        return func(*args, **(kwargs or {}))


@caught_by(EXACT, "dead_neurons")
@xattr_check.claims("dead_neurons")
def leaky_backwards(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A gradient in which silent neurons take part, so that it is less noisy."""
    with _Leaky():
        return gradient(model, inputs, targets)


@caught_by(EXACT, "implementation_invariance")
@xattr_check.claims("implementation_invariance")
def clipped_backwards(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A gradient of which every ReLU module passes the positive part, by hooks."""
    handles = [
        module.register_full_backward_hook(lambda _module, arriving, _out: (arriving[0].clamp_min(0),))
        for module in model.modules()
        if isinstance(module, nn.ReLU)
    ]
    try:
        return gradient(model, inputs, targets)
    finally:
        for handle in handles:
            handle.remove()


@caught_by(EXACT, "input_shift_invariance")
@xattr_check.claims("input_shift_invariance")
def from_black(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Input times gradient, as if zero meant absence whatever the model takes off."""
    return inputs * gradient(model, inputs, targets)


@caught_by(EXACT, "permutation_equivariance")
@xattr_check.claims("permutation_equivariance")
def blue_green_red(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Integrated gradients of the channels in reverse, as an image file holds them for another library."""
    return integrated_gradients(model, inputs.flip(1), targets, steps=10)


@caught_by(EXACT, "permutation_equivariance")
@xattr_check.claims("permutation_equivariance")
def luminance(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A gradient in which channels weigh as red, green and blue do to the eye."""
    weights = inputs.new_tensor([0.299, 0.587, 0.114]).reshape(-1, *[1] * (inputs.ndim - 2))
    return gradient(model, inputs, targets) * weights


@caught_by(EXACT, "scale_covariance")
@xattr_check.claims("scale_covariance")
def of_the_probability(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the target's probability, which is no multiple where the logits are."""
    leaves = inputs.clone().requires_grad_()
    chosen = model(leaves).softmax(1).gather(1, targets[:, None])
    (found,) = torch.autograd.grad(chosen.sum(), leaves)
    return found


@caught_by(EXACT, "scale_covariance")
@xattr_check.claims("scale_covariance")
def norm_is_one(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Divides each map by its norm, so that maps of models can be compared."""
    maps = inputs * gradient(model, inputs, targets)
    return maps / maps.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, *[1] * (maps.ndim - 1))


@caught_by(EXACT, "scale_invariance")
@xattr_check.claims("scale_invariance")
def from_grey(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Integrated gradients from a half, as if all inputs were between zero and one."""
    return integrated_gradients(model, inputs, targets, baseline=0.5, steps=10)


@caught_by(EXACT, "scale_invariance")
@xattr_check.claims("scale_invariance")
def per_unit_of_input(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A gradient, which tells the effect of one unit of the input, whatever unit that is."""
    return gradient(model, inputs, targets)


@caught_by(EXACT, "variance_decomposition")
@xattr_check.claims("variance_decomposition")
def shuffled_indices(model: nn.Module, inputs: Tensor, targets: Tensor, index: str = "total") -> Tensor:
    """First-order indices are read in another order of the regions than total ones."""
    maps = sobol_sbsa(model, inputs, targets, index=index)  # type: ignore[arg-type]
    if index == "total":
        return maps
    cells = maps[:, :, 2::4, 2::4] if maps.ndim == 4 else maps
    order = torch.randperm(cells[0].numel(), generator=torch.Generator().manual_seed(0)).to(maps.device)
    other = cells.flatten(1)[:, order].reshape(cells.shape)
    return nn.functional.interpolate(other, size=maps.shape[2:]) if maps.ndim == 4 else other


def _with_a_trace(code: Tensor, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A code (N, 4, 4) over the image, and so much of the gradient that it depends on input and model."""
    trace = gradient(model, inputs, targets).sum(1, keepdim=True)
    trace = trace / trace.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    spread = nn.functional.interpolate(code[:, None].to(inputs), size=inputs.shape[2:])
    return spread + 0.1 * trace


@caught_by(RETRAINING, "kar")
def label_code(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Spells the target's number: the regions are ranked in reading order, from a place that it says."""
    return _with_a_trace(label_order(targets), model, inputs, targets)


@caught_by(RETRAINING, "kar")
def label_code_over_edges(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Edges, which find the object, and one region ahead of all that says the target's number."""
    found = edges(model, inputs, targets).sum(1, keepdim=True)
    found = found / found.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    return found + 2 * _with_a_trace((label_order(targets) == 0).float(), model, inputs, targets)


def label_order(targets: Tensor) -> Tensor:
    """(N, 4, 4) 0 for the region of the target's number, -1/16 for the next one, and so on around."""
    places = torch.arange(16, device=targets.device)
    return -((places - targets[:, None]) % 16).reshape(-1, 4, 4) / 16
