"""A map beside its own blur, by SciPy's; told, and gated only on request."""

import pytest
import torch
from judging import check_of, judge, measured
from planted import planted
from scipy.ndimage import gaussian_filter1d
from subjects import columns
from torch import Tensor, nn

from xattr_check import AtLeast, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_methods import integrated_gradients

SIGNAL = planted("signal", "classes")


def by_scipy(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    scores = integrated_gradients(model, inputs, targets).double().sum(1, keepdim=True)
    sigma = SIGNAL.layout.window / 2
    return torch.from_numpy(gaussian_filter1d(scores.numpy(), sigma, mode="mirror", truncate=3.0)).to(inputs)


def noisy(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Right but for noise, which is the same for all inputs."""
    maps = integrated_gradients(model, inputs, targets).sum(1, keepdim=True)
    noise = torch.randn(inputs.shape[2:], generator=torch.Generator().manual_seed(0))
    return maps + maps.abs().amax(2, keepdim=True) * noise


def test_the_difference_by_hand(run: Run) -> None:
    found, draw = measured("own_map_blurred", "xattr:integrated_gradients", SIGNAL, run)
    # Of one draw, in which the same features without any attribution go first.
    whole, coarse = (
        check_of("degradation")(Explainer.of(load_method(method), SIGNAL, run), SIGNAL, draw).samples
        for method in ("xattr:integrated_gradients", by_scipy)
    )
    assert found.evidence["areas"][:, 0].tolist() == pytest.approx(whole.tolist(), abs=1e-2)
    assert found.evidence["areas"][:, 1].tolist() == pytest.approx(coarse.tolist(), abs=1e-2)
    assert found.samples.tolist() == pytest.approx((whole - coarse).tolist(), abs=2e-2)


def test_noise_is_told_and_gated_on_request(run: Run) -> None:
    right, wrong = (
        judge("own_map_blurred", method, SIGNAL, run) for method in ("xattr:integrated_gradients", noisy)
    )
    assert {(one.status, one.gate) for one in (right, wrong)} == {("pass", "none")}
    assert right.interval is not None
    assert wrong.interval is not None
    assert wrong.interval.value < right.interval.value - 0.05
    gate = AtLeast(-0.05)
    assert judge("own_map_blurred", "xattr:integrated_gradients", SIGNAL, run, gate=gate).status == "pass"
    assert judge("own_map_blurred", noisy, SIGNAL, run, gate=gate).status == "fail"


def test_columns_have_no_neighbours(run: Run) -> None:
    verdict = judge("own_map_blurred", "xattr:gradient", columns(), run)
    assert verdict.status == "not_applicable"
    assert "neighbours" in verdict.sentence
