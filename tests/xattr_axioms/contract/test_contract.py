"""Every broken method fails the check that names its defect; correct methods pass all of them."""

import random
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from broken_methods import CAUGHT_BY, CONTRACT, DEPENDENCE, MAY_FAIL, MEANING, broken
from judging import judge, seeds
from subjects import columns, images, tokens
from torch import Tensor, nn

import xattr_check
from xattr_axioms.contract._calls import NOISE, ROUNDING, distance, distance_beyond_factor
from xattr_check import Subject, Verdict, load_method
from xattr_check.core.process import ProcessState
from xattr_check.core.run import Run
from xattr_methods import gradient

KNOWN = {name: check for name, check in xattr_check.checks().items() if check.family == "contract"}
# Those that a method of broken_methods.py is for; the others have a test, and broken methods, of their own.
OWN = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
CHECKS = {name: check for name, check in KNOWN.items() if name not in OWN}


def verdicts(method: Any, subject: Subject, run: Run) -> dict[str, Verdict]:
    """Those of the contract that are not a pass."""
    found = load_method(method)
    judged = [judge(check, found, subject, run) for check in CHECKS.values()]
    return {verdict.check: verdict for verdict in judged if verdict.status != "pass"}


@xattr_check.stochastic
def noisy_gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The noise of an honest stochastic method follows the global generators."""
    return gradient(model, inputs + 0.3 * torch.randn_like(inputs), targets)


def restores_generator(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Seeds the global generator in a scope that puts it back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = torch.randn(inputs.shape[1:])
    return gradient(model, inputs + 0.1 * noise, targets)


def consumes_numbers(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Draws from all global generators, to no effect."""
    random.random(), np.random.rand(), torch.rand(3)
    return gradient(model, inputs, targets)


def temporary_changes(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Hooks, train mode and requires_grad, all put back."""
    handles = [module.register_forward_hook(lambda *_: None) for module in model.modules()]
    model.train()
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    maps = gradient(model, inputs, targets)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for handle in handles:
        handle.remove()
    return maps


GOOD: list[Any] = [
    "xattr:gradient",
    "xattr:input_x_gradient",
    "xattr:integrated_gradients?steps=8",
    "xattr:smoothgrad?samples=6",
    "xattr:guided_backprop",
    "xattr:gradcam",
    "xattr:occlusion",
    noisy_gradient,
    restores_generator,
    consumes_numbers,
    temporary_changes,
]


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("method", GOOD, ids=lambda method: getattr(method, "__name__", method))
def test_correct_methods_pass(method: Any, seed: int, setting: Callable[[int], tuple[Subject, Run]]) -> None:
    assert {str(v) for v in verdicts(method, *setting(seed)).values()} == set()


@pytest.mark.parametrize("name", [*CONTRACT, *DEPENDENCE])
def test_a_broken_method_fails_its_check_and_no_other(
    name: str, setting: Callable[[int], tuple[Subject, Run]]
) -> None:
    seed = list(CAUGHT_BY).index(name) % 5
    found = verdicts(broken(name), *setting(seed))
    assert CAUGHT_BY[name] in found
    assert found[CAUGHT_BY[name]].failed
    assert set(found) - {CAUGHT_BY[name]} <= MAY_FAIL[name]
    statuses = {verdict.status for verdict in found.values()}
    assert statuses == {"error"} if name == "raises_on_some_inputs" else statuses <= {"fail", "error"}


def test_the_contract_says_nothing_about_meaning(setting: Callable[[int], tuple[Subject, Run]]) -> None:
    found = {name: set(verdicts(broken(name), *setting(0))) - MAY_FAIL[name] for name in MEANING}
    assert {name: failed for name, failed in found.items() if failed} == {}


def test_every_contract_check_catches_a_broken_method() -> None:
    """Of those whose module is one of ours; others bring their own."""
    ours = {"shape", "dtype_and_device", "finite", "deterministic", "batch_independent"}
    kept = ("inputs", "weights", "mode", "hooks", "attributes", "process", "gradients", "rng")
    ours |= {f"preserves_{what}" for what in kept}
    ours |= {f"depends_on_{what}" for what in ("input", "model", "target")}
    assert {CAUGHT_BY[name] for name in (*CONTRACT, *DEPENDENCE)} == ours
    assert ours <= set(CHECKS)


SENTENCES = {
    "wrong_shape": "shape: expected a tensor (N, 3, 12, 12) or (N, 1, 12, 12), came (N, 12, 12)",
    "squeezed_batch": (
        "shape: for a batch of one input, expected a tensor (N, 3, 12, 12) or (N, 1, 12, 12), came (3, "
        "12, 12)"
    ),
    "list_of_maps": (
        "shape: expected a tensor (N, 3, 12, 12) or (N, 1, 12, 12), came a list of 8; return the map alone"
    ),
    "wrong_device": "dtype_and_device: expected attributions on cpu, where the inputs are, came meta",
    "nan_for_one_input": "finite: NaN in the maps of 1 of 8 inputs (first: number 2 of the batch)",
    "modifies_targets": (
        "preserves_inputs: expected targets unchanged, came values changed by up to 1; work on "
        "targets.clone()"
    ),
    "moves_statistics": (
        "preserves_weights: expected the model unchanged, came norm1.running_mean (and 5 more) changed"
    ),
    "replaces_modules": "preserves_weights: expected the model unchanged, came submodules of model changed",
    "leaves_train_mode": "preserves_mode: expected the mode unchanged, came model (and 8 more) switched",
    "leaves_hooks": (
        "preserves_hooks: expected hooks and forward unchanged, came others on relu1 (and 1 more)"
    ),
    "replaces_forward": "preserves_hooks: expected hooks and forward unchanged, came others on relu1.forward",
    "leaves_tensor_hooks": (
        "preserves_hooks: expected hooks and forward unchanged, came others on conv1.weight (and 9 more)"
    ),
    "keeps_activations": (
        "preserves_attributes: expected attributes unchanged, came activation of model: new, a tensor "
        "(8, 5) (and 8 more)"
    ),
    "changes_eps": (
        "preserves_attributes: expected attributes unchanged, came eps of norm1: 1e-05 became 3.0 "
        "(and 1 more)"
    ),
    "changes_classes": (
        "preserves_attributes: expected attributes unchanged, came class of relu1: ReLU became Hardswish "
        "(and 1 more)"
    ),
    "switches_gradients_off": (
        "preserves_process: expected settings of the process unchanged, came grad mode: True became False; "
        "put them back in a finally clause"
    ),
    "replaces_functions": (
        "preserves_process: expected settings of the process unchanged, came torch.nn.functional.relu: "
        "relu became softplus; put them back in a finally clause"
    ),
    "leaves_gradients": (
        "preserves_gradients: expected gradients unchanged, came another .grad on conv1.weight (and 9 more)"
    ),
    "reseeds_numpy": (
        "preserves_rng: expected the global generators to go on, came a fixed seed in random and "
        "numpy.random; draw from a generator of your own, random.Random(seed)"
    ),
    "zero_map": "depends_on_input: expected a map for each input, came the same for 8 different inputs",
    "edges_in_disguise": (
        "depends_on_model: expected other maps from a copy of the model with random weights, came the "
        "same, but for a factor, for 8 inputs"
    ),
    "ignores_target": (
        "depends_on_target: expected other maps for other targets, came the same, up to a factor, for 8 "
        "inputs"
    ),
}


def test_the_sentence_names_the_defect(setting: Callable[[int], tuple[Subject, Run]]) -> None:
    found = {name: str(judge(CAUGHT_BY[name], broken(name), *setting(0))) for name in SENTENCES}
    assert found == SENTENCES


def test_undeclared_noise_is_told_what_to_type(setting: Callable[[int], tuple[Subject, Run]]) -> None:
    sentence = str(judge("deterministic", broken("undeclared_noise"), *setting(0)))
    assert sentence.startswith("deterministic: expected the same maps from two calls, came ")
    assert "put @xattr_check.stochastic above the method" in sentence


def test_the_model_is_as_before_after_every_broken_method(run: Run) -> None:
    subject = images()
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    for name in (
        "modifies_weights",
        "moves_statistics",
        "replaces_modules",
        "leaves_train_mode",
        "leaves_hooks",
    ):
        judge(CAUGHT_BY[name], broken(name), subject, run)
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.model.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in subject.model.modules())


class Remembering(nn.Module):
    """A network that counts its calls, keeps its last input, and has torch forget its denormals."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.last = 0, torch.zeros(())
        self.linear = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls, self.last = self.calls + 1, inputs.detach()
        torch.set_flush_denormal(True)
        logits: Tensor = self.linear(inputs)
        return logits


def test_no_method_is_blamed_for_what_the_model_does_itself(run: Run) -> None:
    before = ProcessState()
    try:
        subject = Subject("model", Remembering(), torch.randn(9, 6), torch.zeros(9, dtype=torch.int64))
        torch.set_flush_denormal(False)
        for check in ("preserves_attributes", "preserves_process", "preserves_weights"):
            assert judge(check, gradient, subject, run).status == "pass"
    finally:
        before.restore()


def test_what_comes_with_an_import_is_no_violation(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries set variables and filters of warnings when they are imported, once."""
    monkeypatch.delitem(sys.modules, "xattr_test_library", raising=False)
    once: list[int] = []

    def importing(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        if not once:
            once.append(1)
            sys.modules["xattr_test_library"] = types.ModuleType("xattr_test_library")
            warnings.simplefilter("ignore")
        return gradient(model, inputs, targets)

    def configuring(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        warnings.simplefilter("ignore")
        return gradient(model, inputs, targets)

    assert judge("preserves_process", importing, images(), run).status == "pass"
    assert judge("preserves_process", configuring, images(), run).status == "fail"


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:input_x_gradient", "xattr:occlusion"])
def test_columns_of_a_linear_model(method: str, run: Run) -> None:
    found = verdicts(method, columns(), run)
    assert {name: str(verdict) for name, verdict in found.items()} == {
        "depends_on_input": "depends_on_input: the gradient of 'columns' is the same at all inputs drawn"
    }


@pytest.mark.parametrize(
    "method", ["xattr:gradient", "xattr:integrated_gradients?steps=8", "xattr:occlusion"]
)
def test_tokens(method: str, run: Run) -> None:
    assert verdicts(method, tokens(), run) == {}


def test_one_input(run: Run) -> None:
    found = verdicts("xattr:gradient", images(count=1), run)
    assert {name: str(verdict) for name, verdict in found.items()} == {
        "batch_independent": "batch_independent: needs two inputs at least, subject 'images' has one",
        "depends_on_input": "depends_on_input: needs two inputs at least, subject 'images' has one",
    }


class Opposites(nn.Module):
    """A score and its negative, as a binary classifier is often wrapped."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        score = self.score(inputs)
        return torch.cat([-score, score], dim=1)


def test_opposite_outputs(run: Run) -> None:
    """Unsigned maps are rightly the same for both; signed ones have to differ."""
    subject = Subject("opposites", Opposites(), torch.randn(9, 6), torch.zeros(9, dtype=torch.int64))

    def magnitude(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return gradient(model, inputs, targets).abs()

    assert judge("depends_on_target", gradient, subject, run).status == "pass"
    assert judge("depends_on_target", magnitude, subject, run).status == "not_applicable"
    assert judge("depends_on_target", broken("ignores_target"), subject, run).status == "fail"


def test_a_model_without_weights(run: Run) -> None:
    subject = Subject("sums", nn.Softplus(), torch.randn(9, 4), torch.zeros(9, dtype=torch.int64))
    verdict = judge("depends_on_model", gradient, subject, run)
    assert str(verdict) == "depends_on_model: the model has no parameters to randomise"


def test_a_jump_at_a_kink_is_forgiven_and_one_everywhere_is_not(run: Run) -> None:
    """A unit that rounding takes across its kink does so at one input, not at its neighbours."""
    subject = images()

    def jumps_at(own: bool) -> Callable[..., Tensor]:
        def method(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
            maps = gradient(model, inputs, targets)
            if len(inputs) > 1:
                known = [any(torch.equal(row, one) for one in subject.inputs) for row in inputs]
                maps[torch.tensor(known) if own else slice(None), 0, 0, 0] += maps.abs().amax()
            return maps

        return method

    assert judge("batch_independent", jumps_at(own=True), subject, run).status == "pass"
    assert judge("batch_independent", jumps_at(own=False), subject, run).status == "fail"


def test_distance_counts_what_is_beyond_the_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(8, 20, generator=generator, dtype=torch.float64)
    ratios = []
    for _ in range(300):
        one, other = (
            centre + torch.randn(4, 8, 1, generator=generator, dtype=torch.float64) for _ in range(2)
        )
        ratios.append(float(distance(one, other).max()))
    # One degree of freedom in each map is the hardest case: a false alarm in a thousand is expected.
    assert sum(ratio > 0 for ratio in ratios) <= 3
    assert float(distance(one, one + 3).min()) > ROUNDING
    assert NOISE > 4.1


def test_distance_beyond_factor() -> None:
    maps = torch.randn(1, 5, 10, dtype=torch.float64)
    assert float(distance_beyond_factor(maps, 3 * maps, positive=True).max()) < 1e-12
    assert float(distance_beyond_factor(maps, -3 * maps, positive=False).max()) < 1e-12
    assert float(distance_beyond_factor(maps, -3 * maps, positive=True).min()) == 1.0
    assert float(distance_beyond_factor(maps, torch.zeros_like(maps), positive=False).min()) == 1.0
    assert float(distance(torch.zeros_like(maps), torch.zeros_like(maps)).max()) == 0.0


@xattr_check.stochastic
def drowned_in_noise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A map of which nearly all is noise, as that of random masks when they are few."""
    maps = gradient(model, inputs, targets)
    return maps + 20 * maps.abs().mean() * torch.randn(inputs.shape[1:]).to(inputs)


@xattr_check.stochastic
def noise_alone(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Declared stochastic, and nothing else."""
    return torch.randn_like(inputs)


@pytest.mark.parametrize("check", ["depends_on_model", "depends_on_target"])
def test_dependence_is_read_under_the_same_noise(check: str, run: Run) -> None:
    assert judge(check, drowned_in_noise, images(), run).status == "pass"
    assert judge(check, noise_alone, images(), run).status == "fail"
