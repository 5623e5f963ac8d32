"""Entropies against NumPy's histograms; told, and gated only on request."""

import math

import numpy as np
import pytest
import torch
from broken_methods import broken
from judging import judge, measured
from subjects import columns, images

from xattr_axioms.sanity.parameter_randomization_entropy import BINS, entropy
from xattr_check import AtLeast
from xattr_check.core.run import Run
from xattr_methods import input_x_gradient


def by_numpy(row: np.ndarray) -> float:
    counts, _ = np.histogram(row, bins=BINS)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def test_entropies_by_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 300, generator=generator).double()
    maps[3] = 2.0
    expected = [by_numpy(one.numpy()) for one in maps]
    assert entropy(maps).tolist() == pytest.approx(expected, abs=1e-2)
    assert float(entropy(maps)[3]) == 0
    padded = torch.cat([maps, torch.full((4, 7), torch.nan)], dim=1)
    assert torch.equal(entropy(padded), entropy(maps))


@pytest.mark.parametrize("make", [columns, images])
def test_the_maps_of_the_model(make: object, run: Run) -> None:
    subject = make()  # type: ignore[operator]
    found, draw = measured("parameter_randomization_entropy", "xattr:input_x_gradient", subject, run)
    maps = subject.layout.scores(input_x_gradient(subject.model, draw.inputs, draw.targets))
    before, after = found.evidence["entropy"].unbind(1)
    assert before.tolist() == pytest.approx([by_numpy(one.numpy()) for one in maps], abs=0.05)
    gains = ((after - before) / math.log(BINS)).reshape(6, 2).mean(1)
    assert found.samples.tolist() == pytest.approx(gains.tolist())


@pytest.mark.parametrize("method", ["xattr:edges", broken("edges_in_disguise"), "xattr:random"])
def test_what_asks_no_model_gains_nothing(method: object, run: Run) -> None:
    verdict = judge("parameter_randomization_entropy", method, images(), run)
    assert (verdict.status, verdict.gate) == ("pass", "none")
    assert verdict.interval is not None
    assert verdict.interval.value == pytest.approx(0, abs=1e-6)
    gated = judge("parameter_randomization_entropy", method, images(), run, gate=AtLeast(0.05))
    assert gated.status == "fail"
