"""Both randomisation checks against SciPy on networks randomised by hand, and where they say nothing."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from broken_methods import broken
from judging import judge, measured, seeds
from scipy.stats import spearmanr
from subjects import columns, images
from torch import Tensor, nn
from torch.nn import functional

import xattr_check
from xattr_check import Subject, load_method
from xattr_check.core.run import Run
from xattr_check.storage.digest import derive_seed, digest_rows
from xattr_methods import gradient

CHECKS = xattr_check.checks()
CONTROLS = ("random", "edges", "input_magnitude", "center", "constant")
RANDOMISED = ["parameter_randomization", "parameter_randomization_independent", "data_randomization"]


def with_siblings(subject: Subject) -> Subject:
    """Siblings with other weights."""
    return replace(subject, siblings=dict.fromkeys(("shuffled_labels", "retrained"), images(seed=7).model))


@torch.no_grad()
def estimate_statistics(model: nn.Module, inputs: Tensor) -> None:
    """BatchNorm statistics of one batch, layer by layer, in a network of `subjects.images`."""
    hidden = inputs
    for convolution, norm in ((model.conv1, model.norm1), (model.conv2, model.norm2)):
        hidden = convolution(hidden)
        norm.running_mean.copy_(hidden.mean((0, 2, 3)))
        norm.running_var.copy_(hidden.var((0, 2, 3), correction=1))
        normalised = functional.batch_norm(hidden, None, None, norm.weight, norm.bias, training=True)
        hidden = normalised.clamp_min(0)


def corrected(before: np.ndarray, after: np.ndarray, either_sign: bool = True) -> list[float]:
    """Rank correlations above their mean over maps of unrelated inputs, of which 1 is left."""

    def alike(one: np.ndarray, two: np.ndarray) -> float:
        found = float(spearmanr(one, two).statistic)
        return abs(found) if either_sign else found

    chance = np.mean([alike(before[i - 1], after[i]) for i in range(len(before))])
    return [(alike(*pair) - chance) / (1 - chance) for pair in zip(before, after, strict=True)]


def maps_of(method: str, model: nn.Module, inputs: Tensor, targets: Tensor) -> np.ndarray:
    return load_method(method)(model, inputs, targets).double().sum(1).flatten(1).numpy()


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:input_x_gradient", "xattr:gradcam"])
def test_the_first_steps_of_the_cascade_by_hand(method: str, run: Run) -> None:
    subject = images(count=12)
    measurement, draw = measured("parameter_randomization", method, subject, run)
    before = maps_of(method, subject.model, draw.inputs, draw.targets)
    for step, names in enumerate((["classifier"], ["classifier", "norm2"], ["classifier", "norm2", "conv2"])):
        after = []
        for share, rows in enumerate((slice(0, 6), slice(6, 12))):
            model = copy.deepcopy(subject.model)
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed(draw.seed, "weights", share, step))
                for name in names:
                    model.get_submodule(name).reset_parameters()
            estimate_statistics(model, subject.inputs)
            after.append(maps_of(method, model, draw.inputs[rows], draw.targets[rows]))
        expected = corrected(before, np.concatenate(after))
        # A rank may change where two values are equal up to rounding.
        assert measurement.evidence["spearman"][:, step].tolist() == pytest.approx(expected, abs=2e-3)


def test_the_independent_form_randomises_one_group_at_a_time(run: Run) -> None:
    subject = images(count=12)
    check = "parameter_randomization_independent"
    measurement, draw = measured(check, "xattr:gradcam", subject, run)
    before = maps_of("xattr:gradcam", subject.model, draw.inputs, draw.targets)
    assert measurement.evidence["spearman"].shape == (12, 5)
    for step, name in enumerate(("classifier", "norm2", "conv2")):
        after = []
        for share, rows in enumerate((slice(0, 6), slice(6, 12))):
            model = copy.deepcopy(subject.model)
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed(draw.seed, "weights", share, step))
                model.get_submodule(name).reset_parameters()
            estimate_statistics(model, subject.inputs)
            after.append(maps_of("xattr:gradcam", model, draw.inputs[rows], draw.targets[rows]))
        expected = corrected(before, np.concatenate(after))
        assert measurement.evidence["spearman"][:, step].tolist() == pytest.approx(expected, abs=2e-3)


def test_a_second_network_by_hand(run: Run) -> None:
    subject = with_siblings(images(count=12))
    measurement, draw = measured("retrained", "xattr:input_x_gradient", subject, run)
    before, second = (
        np.abs(maps_of("xattr:input_x_gradient", model, draw.inputs, draw.targets))
        for model in (subject.model, subject.siblings["retrained"])
    )
    trained, random = measurement.evidence["spearman_magnitude"].unbind(1)
    assert trained.tolist() == pytest.approx(corrected(before, second, either_sign=False), abs=2e-3)
    assert torch.equal(measurement.samples, trained - random)
    assert float(random.std()) > 0


@pytest.mark.parametrize("seed", seeds())
def test_a_second_network_that_knows_the_same_is_explained_alike(seed: int, run: Run) -> None:
    """The very same one: what remains is how little random ones are."""
    subject = images(count=64)
    same = replace(subject, siblings={"retrained": subject.model})
    run.seed = seed
    assert judge("retrained", "xattr:gradient", same, run).status == "pass"
    unlike = judge("retrained", broken("noise_of_the_logits"), with_siblings(subject), run)
    assert unlike.status == "fail"
    assert unlike.interval is not None
    assert abs(unlike.interval.value) < 0.05


def test_the_statistic_is_the_mean_over_the_steps(run: Run) -> None:
    measurement, _ = measured("parameter_randomization", "xattr:gradient", images(), run)
    curve = measurement.evidence["spearman"]
    assert curve.shape == (12, 5)
    assert torch.equal(measurement.samples, curve.mean(1))
    assert {name: tuple(c.shape) for name, c in measurement.evidence.items()} == {
        "spearman": (12, 5),
        "spearman_magnitude": (12, 5),
        "ssim": (12, 5),
        "hog": (12, 5),
    }


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:gradcam"])
def test_shuffled_labels_by_hand(method: str, run: Run) -> None:
    subject = with_siblings(images(count=12))
    measurement, draw = measured("data_randomization", method, subject, run)
    before, after = (
        maps_of(method, model, draw.inputs, draw.targets)
        for model in (subject.model, subject.siblings["shuffled_labels"])
    )
    assert measurement.samples.tolist() == pytest.approx(corrected(before, after), abs=2e-3)


def blob_and_noise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The same blob for every input, and noise of its own for every input and its logits: not blind."""
    side = torch.linspace(-1, 1, inputs.shape[-1])
    blob = -(side[:, None] ** 2 + side[None, :] ** 2)
    with torch.no_grad():
        keys = digest_rows(torch.cat([inputs.flatten(1), model(inputs)], dim=1))
    noise = [
        torch.randn(blob.shape, generator=torch.Generator().manual_seed(derive_seed(row))) for row in keys
    ]
    return (blob + 0.3 * torch.stack(noise)).unsqueeze(1)


@pytest.mark.parametrize("check", ["parameter_randomization", "data_randomization"])
def test_what_all_maps_share_is_not_held_against_a_method(check: str, run: Run) -> None:
    subject = with_siblings(images(count=64))
    method = load_method(blob_and_noise)
    one, other = (
        method(model, subject.inputs, subject.targets).flatten(1).numpy()
        for model in (subject.model, subject.siblings["shuffled_labels"])
    )
    # Without the correction it would be well above the gate.
    assert np.mean([spearmanr(*pair).statistic for pair in zip(one, other, strict=True)]) > 0.6
    verdict = judge(check, method, subject, run)
    assert verdict.status == "pass"
    assert verdict.interval is not None
    assert abs(verdict.interval.value) < 0.05


@pytest.mark.parametrize("check", RANDOMISED)
def test_a_map_that_does_not_change_is_at_one(check: str, run: Run) -> None:
    subject = with_siblings(images())
    for control in CONTROLS:
        verdict = judge(check, f"xattr:{control}", subject, run)
        assert verdict.status == "fail", control
        assert verdict.interval is not None
        assert verdict.interval.value == pytest.approx(1), control
        assert list(verdict.controls) == ["edges", "input_magnitude", "random"]


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("check", RANDOMISED)
def test_a_map_that_changes_by_a_factor_is_the_same(check: str, seed: int, run: Run) -> None:
    """Of either sign: edges times a logit, which random weights make negative as often as not."""
    run.seed = seed
    verdict = judge(check, broken("edges_in_disguise"), with_siblings(images(seed=seed)), run)
    assert verdict.status == "fail"
    assert verdict.interval is not None
    assert verdict.interval.value == pytest.approx(1, abs=0.02)


def test_a_map_without_a_model_is_no_more_like_that_of_a_second_network(run: Run) -> None:
    subject = with_siblings(images())
    for control in CONTROLS:
        verdict = judge("retrained", f"xattr:{control}", subject, run)
        assert verdict.status == "fail", control
        assert verdict.interval is not None
        assert verdict.interval.value == pytest.approx(0), control


def dies_when_randomised(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Zero wherever the target is not what the model predicts."""
    with torch.no_grad():
        right = model(inputs).argmax(1) == targets
    return gradient(model, inputs, targets) * right[:, None, None, None]


def test_a_map_that_becomes_constant_is_another_one(run: Run) -> None:
    measurement, _ = measured("parameter_randomization", dies_when_randomised, images(count=64), run)
    assert bool(torch.isfinite(measurement.samples).all())
    assert float(measurement.samples.mean()) < 0.5


def test_a_model_without_parameters(run: Run) -> None:
    subject = Subject("sums", nn.Softplus(), torch.randn(9, 4), torch.zeros(9, dtype=torch.int64))
    verdict = judge("parameter_randomization", "xattr:gradient", subject, run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == "parameter_randomization: the model has no parameters to randomise"
    again = judge("parameter_randomization_independent", "xattr:gradient", subject, run)
    assert str(again).endswith(": the model has no parameters to randomise")
    second = judge("retrained", "xattr:gradient", replace(subject, siblings={"retrained": nn.ReLU()}), run)
    assert str(second) == "retrained: the model has no parameters to randomise"


def test_a_subject_without_a_network_of_shuffled_labels(run: Run) -> None:
    verdict = judge("data_randomization", "xattr:gradient", images(), run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == (
        "data_randomization: needs sibling shuffled_labels, which subject 'images' does not offer"
    )


def test_a_control_that_passes_makes_the_check_invalid(run: Run) -> None:
    """With a gate above 1 nothing can fail, so the check must not say pass."""
    gate = xattr_check.AtMost(1.5)
    verdict = judge("parameter_randomization", "xattr:gradient", images(), run, gate=gate)
    assert verdict.status == "invalid"
    assert "has to fail and does not: 1 (gate ≤ 1.5); the check says nothing about 'images'" in str(verdict)


def test_columns_have_no_structural_similarity(run: Run) -> None:
    measurement, _ = measured("parameter_randomization", "xattr:input_x_gradient", columns(), run)
    assert set(measurement.evidence) == {"spearman", "spearman_magnitude"}
