"""Which closed form a map is, and what is none of them."""

from collections.abc import Callable

import pytest
import torch
from broken_methods import broken
from judging import judge, measured
from subjects import columns
from torch import Tensor, nn

import xattr_check
from xattr_check import load_subject
from xattr_check.core.run import Run
from xattr_methods import gradient, guided_backprop

ANALYTIC = load_subject("analytic")
# The column of the evidence in which nothing is left.
RIGHT = {
    "gradient": 0,
    "input_x_gradient": 1,
    "occlusion": 1,
    "integrated_gradients": 2,
    "kernel_shap": 2,
    "lrp": 2,
    "deeplift": 2,
}


@pytest.mark.parametrize(("name", "form"), RIGHT.items())
def test_what_computes_a_closed_form(name: str, form: int, run: Run) -> None:
    found, _ = measured("analytic_truth", f"xattr:{name}", ANALYTIC, run)
    left = found.evidence["unexplained"].mean(0)
    assert int(left.argmin()) == form
    assert float(left[form]) < 1e-4
    assert judge("analytic_truth", f"xattr:{name}", ANALYTIC, run).status == "pass"


@pytest.mark.parametrize(
    "name", ["absolute_value", "half_the_path", "forgets_input_difference", "positive_part", "wrong_target"]
)
def test_what_is_none(name: str, run: Run) -> None:
    explain = broken(name)
    verdict = judge("analytic_truth", explain, ANALYTIC, run)
    assert (verdict.status, verdict.required) == ("fail", False)


def halfway(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Half of a gradient that is right and of one that is not."""
    return gradient(model, inputs, targets) + guided_backprop(model, inputs, targets)


def test_it_gates_what_claims_it(run: Run) -> None:
    claimed: Callable[..., Tensor] = xattr_check.claims("analytic_truth")(halfway)
    verdict = judge("analytic_truth", claimed, ANALYTIC, run)
    assert verdict.failed
    assert "; the nearest is the gradient, which leaves " in verdict.sentence


def test_the_share_by_hand(run: Run) -> None:
    found, draw = measured("analytic_truth", halfway, ANALYTIC, run)
    maps = halfway(ANALYTIC.model, draw.inputs, draw.targets).double()
    cosines = torch.cosine_similarity(maps, draw.truth("gradient").double(), dim=1)
    left = 1 - cosines.clamp_min(0) ** 2
    assert found.evidence["unexplained"][:, 0].tolist() == pytest.approx(left.tolist(), abs=1e-6)
    assert found.samples.tolist() == (left > 0.01).double().tolist()


def test_a_network_without_closed_forms(run: Run) -> None:
    verdict = judge("analytic_truth", "xattr:gradient", columns(), run)
    assert verdict.sentence == (
        "needs gradient and integrated_gradients, which subject 'columns' does not offer"
    )
