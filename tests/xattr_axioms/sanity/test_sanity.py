"""Both randomisation checks against SciPy on networks randomised by hand, and where they say nothing."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_methods import broken
from judging import judge, measured, seeds
from scipy.stats import spearmanr
from scripts import imported
from subjects import columns, images
from torch import Tensor, nn
from torch.nn import functional

import xattr_check
from xattr_check import Store, Subject, load_method
from xattr_check.core.run import Draw, Run
from xattr_check.storage.digest import derive_seed
from xattr_methods import gradient, input_x_gradient

CHECKS = xattr_check.checks()
CONTROLS = ("random", "edges", "input_magnitude", "center", "constant")
RANDOMISED = ["parameter_randomization", "parameter_randomization_independent", "data_randomization"]


def settled(count: int = 12) -> Subject:
    """As `images`, with norms that are not as before training."""
    subject = images(count=count)
    with torch.no_grad():
        for norm in (subject.model.norm1, subject.model.norm2):
            norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
            norm.bias.normal_(generator=torch.Generator().manual_seed(1))
    return Subject(subject.name, subject.model, subject.inputs, subject.targets)


# What is randomised in each step on a network of `subjects.images`.
STEPS = (("classifier",), ("norm2", "conv2"), ("norm1", "conv1"))
# The inputs of each of its random networks, for twelve inputs.
SHARES = [slice(start, start + 2) for start in range(0, 12, 2)]


def maps_of_random_ones(
    method: str, names: Sequence[str], step: int, subject: Subject, draw: Draw
) -> np.ndarray:
    """Maps of copies in which modules are reset by hand."""
    after = []
    for share, rows in enumerate(SHARES):
        model = copy.deepcopy(subject.model)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(draw.seed, "weights", share, step))
            for name in names:
                model.get_submodule(name).reset_parameters()
        estimate_statistics(model, subject.inputs)
        after.append(maps_of(method, model, draw.inputs[rows], draw.targets[rows]))
    return np.concatenate(after)


def by_network(rows: list[float]) -> list[float]:
    return [float(np.mean(rows[share])) for share in SHARES]


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
@pytest.mark.parametrize("check", ["parameter_randomization", "parameter_randomization_independent"])
def test_the_steps_by_hand(check: str, method: str, run: Run) -> None:
    subject = settled()
    measurement, draw = measured(check, method, subject, run)
    before = maps_of(method, subject.model, draw.inputs, draw.targets)
    assert measurement.evidence["spearman"].shape == (6, 3)
    for step in range(3):
        names = STEPS[step] if check.endswith("independent") else sum(STEPS[: step + 1], ())
        expected = by_network(corrected(before, maps_of_random_ones(method, names, step, subject, draw)))
        # A rank may change where two values are equal up to rounding.
        assert measurement.evidence["spearman"][:, step].tolist() == pytest.approx(expected, abs=2e-3)


def test_a_second_network_by_hand(run: Run) -> None:
    subject = with_siblings(images(count=12))
    measurement, draw = measured("retrained", "xattr:input_x_gradient", subject, run)
    before, second = (
        np.abs(maps_of("xattr:input_x_gradient", model, draw.inputs, draw.targets))
        for model in (subject.model, subject.siblings["retrained"])
    )
    trained, random = measurement.evidence["spearman_magnitude"].unbind(1)
    alike, left = by_network(trained.tolist()), by_network(random.tolist())
    gone = [(one - other) / (1 - other) for one, other in zip(alike, left, strict=True)]
    assert trained.tolist() == pytest.approx(corrected(before, second, either_sign=False), abs=2e-3)
    assert measurement.samples.tolist() == pytest.approx(gone)
    assert float(random.std()) > 0


def nearly_the_same(subject: Subject) -> Subject:
    """The subject with a second network whose weights differ by a hundredth."""
    second, generator = copy.deepcopy(subject.model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in second.parameters():
            weight.mul_(1 + 0.01 * torch.randn(weight.shape, generator=generator))
    return replace(subject, siblings={"retrained": second})


@pytest.mark.parametrize("seed", seeds())
def test_a_second_network_that_knows_the_same_is_explained_alike(seed: int, run: Run) -> None:
    """The very same one: what remains is how little random ones are."""
    subject = images(count=64)
    same = replace(subject, siblings={"retrained": subject.model})
    run.seed = seed
    assert judge("retrained", "xattr:gradient", same, run).status == "pass"
    unlike = judge("retrained", broken("noise_of_the_logits"), nearly_the_same(subject), run)
    assert unlike.status == "fail"
    assert unlike.interval is not None
    assert abs(unlike.interval.value) < 0.05


def test_the_statistic_is_the_mean_over_the_steps_without_noise(run: Run) -> None:
    measurement, _ = measured("parameter_randomization", "xattr:input_x_gradient", images(), run)
    curve = measurement.evidence["spearman"]
    ratio = curve.mean(1) / measurement.samples
    assert ratio.tolist() == pytest.approx([float(ratio[0])] * 6)
    assert 0.95 < float(ratio[0]) < 1
    assert {name: tuple(c.shape) for name, c in measurement.evidence.items()} == {
        "spearman": (6, 3),
        "spearman_magnitude": (6, 3),
        "ssim": (6, 3),
        "hog": (6, 3),
    }


@pytest.mark.parametrize(
    ("method", "judged"), [("gradient", "spearman_magnitude"), ("input_x_gradient", "spearman")]
)
def test_a_method_is_read_as_in_other_checks(method: str, judged: str, run: Run) -> None:
    """With its signs, and as magnitudes where its sign is a direction."""
    found, _ = measured("parameter_randomization", f"xattr:{method}", images(), run)
    assert found.samples.tolist() == pytest.approx(found.evidence[judged].mean(1).tolist(), abs=0.05)


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:gradcam"])
def test_shuffled_labels_by_hand(method: str, run: Run) -> None:
    subject = with_siblings(images(count=12))
    measurement, draw = measured("data_randomization", method, subject, run)
    before, after = (
        maps_of(method, model, draw.inputs, draw.targets)
        for model in (subject.model, subject.siblings["shuffled_labels"])
    )
    assert measurement.evidence["spearman"].tolist() == pytest.approx(corrected(before, after), abs=2e-3)


def blob_and_gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The same blob for every input, and a little of what the method of that name says of each."""
    side = torch.linspace(-1, 1, inputs.shape[-1])
    maps = input_x_gradient(model, inputs, targets).sum(1, keepdim=True)
    norms = maps.flatten(1).std(1)[:, None, None, None]
    return -(side[:, None] ** 2 + side[None, :] ** 2) + 0.3 * maps / norms


@pytest.mark.parametrize("check", ["parameter_randomization", "data_randomization"])
def test_what_all_maps_share_is_not_held_against_a_method(check: str, run: Run) -> None:
    subject = with_siblings(images(count=64))
    method = load_method(blob_and_gradient)
    one, other = (
        method(model, subject.inputs, subject.targets).flatten(1).numpy()
        for model in (subject.model, subject.siblings["shuffled_labels"])
    )
    # Without the correction it would be well above the gate.
    assert np.mean([spearmanr(*pair).statistic for pair in zip(one, other, strict=True)]) > 0.6
    verdict = judge(check, method, subject, run)
    assert verdict.status == "pass"
    assert verdict.interval is not None
    assert abs(verdict.interval.value) < 0.2


@pytest.mark.parametrize("check", RANDOMISED)
def test_a_map_that_does_not_change_is_at_one(check: str, run: Run) -> None:
    subject = with_siblings(images())
    for control in CONTROLS:
        verdict = judge(check, f"xattr:{control}", subject, run)
        assert verdict.status == "fail", control
        assert verdict.interval is not None
        assert verdict.interval.value == pytest.approx(1), control
        assert list(verdict.controls) == ["edges", "input_magnitude", "random", "gradient", "occlusion"]


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
    subject = nearly_the_same(images(count=64))
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Run]:
    """Six convolutions that know digits of 8×8 pixels, and a run."""
    with imported("experiments", Path("test_eight_subjects.py")) as script:
        known, others = script.split(*script.small_digits(), 0.6)
        model = script.train(script.convolutions, known, epochs=12, seed=0, rate=5e-3)
    return Subject("trained", model, *others), Run(store=Store(tmp_path_factory.mktemp("store")))


@pytest.mark.parametrize("name", ["signs_of_the_gradient", "signs_of_the_weights", "noise_of_the_weights"])
def test_neither_signs_nor_noise_hide_what_stays(name: str, trained: tuple[Subject, Run]) -> None:
    verdict = judge("parameter_randomization", broken(name), *trained)
    assert verdict.status == "fail", str(verdict)


@pytest.mark.parametrize("name", ["gradient", "input_x_gradient", "deeplift", "gradcam"])
def test_what_the_network_tells_passes(name: str, trained: tuple[Subject, Run]) -> None:
    verdict = judge("parameter_randomization", f"xattr:{name}", *trained)
    assert verdict.status == "pass", str(verdict)


def test_figures_do_not_depend_on_how_modules_are_grouped(trained: tuple[Subject, Run]) -> None:
    subject, run = trained
    layers = list(subject.model)
    parts = nn.Sequential(*(nn.Sequential(*part) for part in (layers[:5], layers[5:11], layers[11:])))
    wrapped = [replace(subject, model=model) for model in (parts, nn.Sequential(nn.Sequential(*layers)))]
    flat, *others = (
        measured("parameter_randomization", "xattr:gradient", one, run)[0] for one in (subject, *wrapped)
    )
    for other in others:
        assert torch.equal(flat.samples, other.samples)
        assert torch.equal(flat.evidence["spearman"], other.evidence["spearman"])
