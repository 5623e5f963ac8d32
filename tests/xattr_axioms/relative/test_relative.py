"""The checks after BAM against loops over single images, and where they say nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from broken_methods import broken
from judging import judge, measured, seeds
from subjects import columns, images
from torch import Tensor, nn

import xattr_check
from xattr_axioms.relative.input_independence import shuffled
from xattr_check import Store, Subject, load_method
from xattr_check.core.run import Run

CHECKS = xattr_check.checks()
OF_SCENES = ("model_contrast", "input_dependence")
CLAIMED = frozenset({"input_independence"})


@pytest.fixture
def run(store: Store) -> Run:
    """A run with the store of all that is on the digits."""
    return Run(store=store)


def signed(method: str, model: nn.Module, image: Tensor, target: Tensor) -> Tensor:
    """(H, W) of one image."""
    found = load_method(method)
    maps = found(model, image[None].clone(), target[None])[0].double()
    return (maps.abs() if found.sensitivity else maps).sum(0)


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:input_x_gradient"])
def test_model_contrast_by_a_loop(method: str, digits: Subject, run: Run) -> None:
    measurement, draw = measured("model_contrast", method, digits, run)
    for value, row in zip(measurement.samples[:6], draw.indices, strict=False):
        mask, shares = digits.truth["mask"][row, 0], []
        for model, targets in (
            (digits.model, digits.targets),
            (digits.siblings["scene"], digits.truth["scene"]),
        ):
            heat = signed(method, model, digits.inputs[row], targets[row]).clamp_min(0)
            shares.append(float(heat[mask].sum() / heat.sum()))
        assert float(value) == pytest.approx(shares[0] - shares[1], abs=1e-4)


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:input_x_gradient"])
def test_input_dependence_by_a_loop(method: str, digits: Subject, run: Run) -> None:
    measurement, draw = measured("input_dependence", method, digits, run)
    scene = digits.siblings["scene"]
    rows = digits.locate(draw.inputs)
    for value, row in zip(measurement.samples[:6], rows, strict=False):
        target, mask = digits.truth["scene"][row], digits.truth["mask"][row, 0]
        with torch.no_grad():
            logits = [scene(one[row][None])[0, target] for one in (digits.inputs, digits.truth["background"])]
        assert logits[0] < logits[1]
        hidden, bare = (
            signed(method, scene, one[row], target) for one in (digits.inputs, digits.truth["background"])
        )
        assert float(value) == float(
            hidden[mask].sum() / hidden.abs().sum() < bare[mask].sum() / bare.abs().sum()
        )


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:input_x_gradient"])
def test_the_published_rate_of_input_dependence_is_signed(method: str, digits: Subject, run: Run) -> None:
    measurement, draw = measured("input_dependence", method, digits, run)
    scene, function = digits.siblings["scene"], load_method(method).function
    rows = digits.locate(draw.inputs)
    mask, target = digits.truth["mask"][rows], digits.truth["scene"][rows]
    hidden, bare = (
        (function(scene, one[rows].clone(), target).double() * mask).sum((1, 2, 3))
        for one in (digits.inputs, digits.truth["background"])
    )
    assert torch.equal(measurement.evidence["published"], (hidden < bare).double())


@pytest.mark.parametrize("seed", seeds())
def test_methods_that_ask_the_model_pass_and_others_fail(seed: int, digits: Subject, store: Store) -> None:
    run = Run(store=store, seed=seed)
    for name in ("gradient", "gradcam", "guided_backprop", "lrp", "deeplift"):
        assert judge("model_contrast", f"xattr:{name}", digits, run).status == "pass", name
        found = judge("input_dependence", f"xattr:{name}", digits, run).status
        # At 0.8 and less, 128 inputs do not always tell a share from 0.6.
        assert found == "pass" or (name in ("guided_backprop", "gradient") and found == "undecided"), name
    for name in ("edges", "center", "constant"):
        assert {judge(check, f"xattr:{name}", digits, run).status for check in OF_SCENES} == {"fail"}, name
    for name in ("sign_flipped", "mostly_edges", "first_layer_only", "edges_in_disguise", "zero_map"):
        assert {judge(check, broken(name), digits, run).status for check in OF_SCENES} == {"fail"}, name
    for name in ("random", "input_magnitude"):
        assert judge("model_contrast", f"xattr:{name}", digits, run).status == "fail"


def test_without_a_contrast_the_checks_are_invalid(digits: Subject, run: Run) -> None:
    same = replace(digits, siblings={"scene": digits.model}, truth={**digits.truth, "scene": digits.targets})
    verdict = judge("model_contrast", "xattr:gradient", same, run)
    assert verdict.status == "invalid"
    assert str(verdict) == (
        "model_contrast: without the object the probability of its class falls by 0.89 and that of the scene "
        "by 0.89; they have to be 0.5 apart; the check says nothing about 'digits'"
    )
    bare = replace(digits, truth={**digits.truth, "background": digits.inputs})
    verdict = judge("input_dependence", "xattr:gradient", bare, run)
    assert verdict.status == "invalid"
    assert str(verdict) == (
        "input_dependence: the object hides evidence for its scene on 0 of 400 inputs, and has to on 16 at "
        "least; the check says nothing about 'digits'"
    )


def test_nobody_knows_the_truth_about_scenes(digits: Subject, run: Run) -> None:
    """The mask is of the object, and the scene is what is explained."""
    verdict = judge("input_dependence", "xattr:oracle", digits, run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == (
        "input_dependence: needs mask, which subject 'the scenes of digits' does not offer"
    )
    assert judge("model_contrast", "xattr:oracle", digits, run).status == "fail"
    changed = judge("input_independence", "xattr:oracle", digits, run)
    assert changed.status == "not_applicable"
    assert str(changed) == (
        "input_independence: the method knows the truth of other inputs: subject 'digits': asked for the "
        "truth about an input that is not its own"
    )


@pytest.mark.parametrize("check", OF_SCENES)
def test_a_subject_without_scenes(check: str, run: Run) -> None:
    assert str(judge(check, "xattr:gradient", images(), run)) == (
        f"{check}: needs background and mask and scene and sibling scene, which subject 'images' does not "
        "offer"
    )


def test_shuffled_moves_values_within_the_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(5, 20, generator=generator) < 0.5
    delta = torch.randn(5, 20, 3, generator=generator) * mask[:, :, None]
    found = shuffled(delta, mask, generator)
    assert not torch.equal(found, delta)
    for one, other, where in zip(found, delta, mask, strict=True):
        assert not one[~where].any()
        assert sorted(one[where].tolist()) == sorted(
            other[where].tolist()
        )  # a pixel's channels stay together


class Weighted(nn.Module):
    """A weighted sum of four columns, and a constant: in three directions of the mask it does not change."""

    def forward(self, inputs: Tensor) -> Tensor:
        total = inputs[:, :4] @ torch.tensor([1.0, -1.0, 2.0, -2.0])
        return torch.stack([total, torch.zeros_like(total)], dim=1)


def weighted() -> Subject:
    inputs = torch.randn(128, 6, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(6) < 4).expand(128, -1)
    targets = torch.zeros(128, dtype=torch.int64)
    return Subject("weighted", Weighted(), inputs, targets, truth={"mask": mask})


def test_shares_of_the_output_stay_where_it_does(run: Run) -> None:
    subject = weighted()
    found = judge("input_independence", "xattr:input_x_gradient", subject, run, claims=CLAIMED)
    assert (found.status, found.required) == ("pass", True), str(found)
    assert found.interval is not None
    assert found.interval.value < 0.1
    magnitude = judge("input_independence", lambda m, x, t: x.abs(), subject, run, claims=CLAIMED)
    assert magnitude.failed, str(magnitude)


def test_the_perturbation_has_its_size_and_no_effect(run: Run) -> None:
    subject = weighted()
    measurement, draw = measured("input_independence", "xattr:gradient", subject, run)
    without, effective = measurement.evidence["output_changes"].unbind(1)
    assert float(without.mean()) < 0.25 * float(effective.mean())
    assert len(measurement.samples) == int((without < 0.25 * effective).sum())
    again, _ = measured("input_independence", "xattr:gradient", subject, run)
    assert torch.equal(again.samples, measurement.samples)
    assert len(draw.inputs) == 32


def test_the_published_rate_of_input_independence_is_signed(run: Run) -> None:
    subject, method = weighted(), load_method("xattr:input_x_gradient")
    one, other = (
        measured("input_independence", replace(method, sensitivity=sensitivity), subject, run)[0]
        for sensitivity in (False, True)
    )
    assert not torch.equal(one.samples, other.samples)
    assert torch.equal(one.evidence["published"], other.evidence["published"])


def test_where_nothing_can_be_left_unchanged(run: Run) -> None:
    subject = columns(count=16)
    with torch.no_grad():
        subject.model.weight.copy_(torch.eye(3, 6))
    targets = subject.model(subject.inputs).argmax(1)
    mask = (torch.arange(6) < 1).expand(16, -1)
    single = Subject("single", subject.model, subject.inputs, targets, truth={"mask": mask})
    verdict = judge("input_independence", "xattr:gradient", single, run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == (
        "input_independence: no perturbation of the mask leaves the outputs of 'single' as they are"
    )


@pytest.mark.parametrize("seed", seeds())
def test_input_independence_on_the_digits(seed: int, digits: Subject, store: Store) -> None:
    run = Run(store=store, seed=seed, budget="standard")
    for name in ("gradcam", "deeplift"):
        verdict = judge("input_independence", f"xattr:{name}", digits, run)
        assert (verdict.status, verdict.required) == ("pass", True), str(verdict)
    for name in ("random", "edges", "input_magnitude", "center", "constant"):
        verdict = judge("input_independence", f"xattr:{name}", digits, run)
        assert (verdict.status, verdict.required) == ("fail", False), str(verdict)
    assert judge("input_independence", broken("mostly_edges"), digits, run, claims=CLAIMED).failed


RIGHT = (
    "gradient",
    "input_x_gradient",
    "integrated_gradients?steps=16",
    "gradcam",
    "lrp",
    "deeplift",
    "occlusion?window=8&stride=4",
    "kernel_shap?cells=4&samples=64",
)


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:input_x_gradient"])
def test_spurious_feature_by_a_loop(method: str, digits: Subject, run: Run) -> None:
    measurement, draw = measured("spurious_feature", method, digits, run)
    for value, row in zip(measurement.samples[:6], draw.indices, strict=False):
        changes = []
        for model in (digits.siblings["spurious"], digits.model):
            pair = digits.inputs[row], digits.truth["without_spurious"][row]
            with torch.no_grad():
                answer = model(pair[0][None]).argmax(1)[0]
            shown, bare = (signed(method, model, image, answer).abs() for image in pair)
            changes.append(float((shown / shown.sum() - bare / bare.sum()).abs().sum() / 2))
        assert float(value) == pytest.approx(changes[0] - changes[1], abs=1e-3)


def swapped(method: str, digits: Subject) -> Callable[..., Tensor]:
    """A method that explains the other network."""
    function = load_method(method).function

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        of_model = torch.equal(model.classifier.weight, digits.model.classifier.weight)  # type: ignore[arg-type, union-attr]
        other = digits.siblings["spurious"] if of_model else digits.model
        found: Tensor = function(other, inputs, targets)
        return found

    return explain


@pytest.mark.parametrize("seed", seeds())
def test_a_spurious_feature_is_shown_to_the_network_that_uses_it(
    seed: int, digits: Subject, store: Store
) -> None:
    run = Run(store=store, seed=seed)
    for name in ("gradcam", "deeplift"):
        assert judge("spurious_feature", f"xattr:{name}", digits, run).status == "pass", name
    for name in ("random", "edges", "constant"):
        assert judge("spurious_feature", f"xattr:{name}", digits, run).status == "fail", name
    for name in ("edges_in_disguise", "mostly_edges", "first_layer_only", "zero_map"):
        assert judge("spurious_feature", broken(name), digits, run).status == "fail", name
    # Undecided after the 128 inputs of a quick run, at −0.14 ± 0.21.
    more = Run(store=store, seed=seed, budget="standard")
    assert judge("spurious_feature", swapped("xattr:gradcam", digits), digits, more).status == "fail"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_right_methods_show_a_spurious_feature(seed: int, digits: Subject, store: Store) -> None:
    run = Run(store=store, seed=seed)
    for name in RIGHT:
        assert judge("spurious_feature", f"xattr:{name}", digits, run).status == "pass", name


def test_a_feature_that_no_network_uses_is_told(digits: Subject, run: Run) -> None:
    same = replace(digits, siblings={"spurious": digits.model})
    verdict = judge("spurious_feature", "xattr:gradient", same, run)
    assert verdict.status == "invalid"
    assert "they have to be 0.5 apart; the check says nothing about 'digits'" in str(verdict)
    without = replace(digits, siblings={})
    assert judge("spurious_feature", "xattr:gradient", without, run).status == "not_applicable"
