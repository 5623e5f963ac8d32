"""Partial rank correlations against residuals, and what looks sharp by another's detail."""

import numpy as np
import pytest
import torch
from broken_methods import broken
from judging import judge, measured
from planted import planted
from scipy.ndimage import gaussian_filter1d
from scipy.stats import pearsonr, rankdata
from subjects import columns, images
from torch import Tensor, nn

from xattr_axioms.sanity.edge_likeness import partial
from xattr_check import load_subject
from xattr_check.core.run import Run
from xattr_methods import edges, integrated_gradients


def by_residuals(first: np.ndarray, second: np.ndarray, given: np.ndarray) -> float:
    """The correlation of what a line through the third leaves of the ranks of two."""
    one, two, three = map(rankdata, (first, second, given))
    left = [ranked - np.polyval(np.polyfit(three, ranked, 1), three) for ranked in (one, two)]
    return float(pearsonr(*left).statistic)


def test_a_partial_correlation_by_residuals() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second, given = torch.randn(3, 6, 50, generator=generator).double()
    second, given = second + first, given + first
    expected = [
        by_residuals(*rows) for rows in zip(first.numpy(), second.numpy(), given.numpy(), strict=True)
    ]
    assert partial(first, second, given).tolist() == pytest.approx(expected)
    assert partial(first[:, :5], second[:, :5], given[:, :5]).tolist() == [0.0] * 6


def test_a_signal_by_hand(run: Run) -> None:
    subject = planted("signal", "classes")
    found, draw = measured("edge_likeness", "xattr:integrated_gradients", subject, run)
    maps = subject.layout.scores(integrated_gradients(subject.model, draw.inputs, draw.targets)).abs()
    detail = edges(subject.model, draw.inputs, draw.targets, layout="signal").double().flatten(1)
    sigma = subject.layout.window / 4
    coarse = gaussian_filter1d(maps.numpy(), sigma, mode="mirror", truncate=3.0)
    for row, one in enumerate(maps.numpy()):
        some = one > 0
        expected = (
            by_residuals(one[some], detail[row].numpy()[some], coarse[row][some]) if some.sum() > 7 else 0
        )
        assert float(found.samples[row]) == pytest.approx(expected, abs=2e-3)


def sharpened(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return integrated_gradients(model, inputs, targets).abs().sum(1, keepdim=True) * edges(
        model, inputs, targets, layout="signal"
    )


@pytest.mark.parametrize("name", ["beats"])
def test_signals_that_are_sharpened(name: str, run: Run) -> None:
    subject = load_subject(name)
    for method in ("integrated_gradients", "gradcam", "occlusion", "guided_backprop"):
        assert judge("edge_likeness", f"xattr:{method}", subject, run).status == "pass"
    assert judge("edge_likeness", "xattr:edges", subject, run).status == "fail"
    assert judge("edge_likeness", sharpened, subject, run).status == "fail"


@pytest.mark.parametrize("name", ["edges_times_gradcam", "edges_on_top"])
def test_the_detail_of_an_edge_detector(name: str, run: Run) -> None:
    assert judge("edge_likeness", broken(name), images(count=64), run).status == "fail"
    assert judge("edge_likeness", "xattr:gradcam", images(count=64), run).status == "pass"


def test_columns_have_no_edges(run: Run) -> None:
    verdict = judge("edge_likeness", "xattr:gradient", columns(), run)
    assert verdict.status == "not_applicable"
    assert "neighbours" in verdict.sentence
