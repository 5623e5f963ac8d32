"""What the highest regions tell a network of random masks: against a loop; right, wrong and telltale maps."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from broken_methods import label_order
from judging import check_of, judge, measured
from recipes import columns_of, grid, one_matters, sees_places, subject, tokens_of
from torch import Tensor, nn

from xattr_axioms.retraining.eval_x import PERCENTAGES, _judge
from xattr_check import Store, load_method
from xattr_check.core.run import Run
from xattr_check.networks.retrain import Networks, Retrainable

NAME = "eval_x"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The network is trained once."""
    return Store(tmp_path_factory.mktemp("eval_x"))


@pytest.fixture
def run(store: Store) -> Run:
    return Run(store=store, budget="full")


def sign_flipped(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return -load_method("xattr:input_x_gradient")(model, inputs, targets)


@pytest.mark.parametrize("asked", [None, (25, 60)])
def test_one_image_and_one_region_after_the_other(asked: tuple[int, ...] | None, run: Run) -> None:
    check = NAME if asked is None else f"{NAME}?percentages={'+'.join(map(str, asked))}"
    given, method = subject(), load_method("xattr:input_magnitude")  # no ties, which fall at random
    found, draw = measured(check, method, given, run)
    assert isinstance(draw.subject, Retrainable)
    network, _, _ = _judge(draw.subject, run)
    maps = method(given.model, draw.inputs, draw.targets).sum(1)
    expected = []
    for image, own, target in zip(draw.inputs, maps, draw.targets, strict=True):
        order = sorted(range(16), key=lambda region: -float(own[grid() == region].mean()))
        told = []
        for percentage in asked or PERCENTAGES:
            shown = given.inputs.mean((0, 2, 3))[:, None, None].repeat(1, 8, 8)
            for region in order[: round(16 * percentage / 100)]:
                shown[:, grid() == region] = image[:, grid() == region]
            told.append(float(network(shown[None]).softmax(1)[0, target]))
        expected.append(sum(told) / len(told))
    assert found.samples.tolist() == pytest.approx(expected, abs=1e-4)
    assert found.evidence["percentage"].tolist() == list(asked or PERCENTAGES)


def test_right_and_wrong_maps(run: Run) -> None:
    given = subject()
    right = judge(NAME, "xattr:input_x_gradient", given, run)
    assert right.status == "pass", str(right)
    for wrong in (sign_flipped, "xattr:random"):
        verdict = judge(NAME, wrong, given, run)
        assert verdict.status == "fail", str(verdict)
    others = [value for name, value in right.controls.items() if name != "oracle"]
    assert right.controls["oracle"] > max(others)


def coding(number: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Regions in reading order, from a place that says the target plus a number."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        cells = label_order((targets + number) % 3)[:, None].to(inputs)
        return nn.functional.interpolate(cells, size=inputs.shape[2:])

    return explain


def test_a_code_of_the_target_gains_nothing(run: Run) -> None:
    """Networks that see places could read it, and do for `kar`; to this one places were chance."""
    given = subject(network=sees_places, epochs=20)
    right, *others = (float(measured(NAME, coding(k), given, run)[0].samples.mean()) for k in range(3))
    assert right < max(others) + 0.02
    assert right < 0.5
    kept = float(measured("kar", coding(0), given, run)[0].samples.mean())
    assert kept > 0.9


@pytest.mark.parametrize("make", [columns_of, tokens_of])
def test_columns_and_tokens(make: Callable[[int, int], dict[str, Tensor]], run: Run) -> None:
    given, gradient = one_matters(make), load_method("xattr:gradient")

    def last(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return -gradient(model, inputs, targets).abs()

    assert judge(NAME, gradient, given, run).status == "pass"
    assert judge(NAME, last, given, run).status == "fail"


def test_one_network_for_all_methods(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = subject(epochs=2)
    judge(NAME, "xattr:input_x_gradient", given, run)
    monkeypatch.setattr(Networks, "train", None)  # whoever trains again fails
    assert judge(NAME, sign_flipped, given, Run(store=run.store, budget="full")).n > 0


def test_a_recipe_that_learns_nothing(run: Run) -> None:
    verdict = judge(NAME, "xattr:gradient", subject(epochs=1, rate=1e-6), run)
    assert verdict.status == "not_applicable"
    assert "a network trained on masked inputs is right on 0." in str(verdict)
    assert str(verdict).endswith("give the subject's recipe more epochs or a larger pool")


def test_without_a_recipe(run: Run) -> None:
    verdict = judge(NAME, "xattr:gradient", replace(subject(), recipe=None), run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == "eval_x: needs recipe, which subject 'patches' does not offer"


def test_edges_owe_no_pass_to_what_they_find(run: Run) -> None:
    assert check_of(NAME).presumes == ("depends_on_input", "depends_on_model")
    assert check_of(NAME).cost == "full"
    verdict = judge(NAME, "xattr:oracle", subject(), run)
    assert verdict.status == "not_applicable"
    assert "uninformative, since depends_on_" in str(verdict)
    assert torch.isfinite(torch.tensor(verdict.controls["edges"]))
