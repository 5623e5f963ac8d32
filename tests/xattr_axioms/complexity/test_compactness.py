"""Gini indices against mean differences; told, and gated only on request."""

import pytest
import torch
from judging import judge, measured
from subjects import columns, images

from xattr_axioms.complexity.compactness import gini
from xattr_check import AtLeast, load_subject
from xattr_check.core.run import Run
from xattr_methods import gradient


def by_differences(amounts: torch.Tensor) -> float:
    """Half the mean difference between two of them, over their mean."""
    return float((amounts[:, None] - amounts[None, :]).abs().mean() / (2 * amounts.mean()))


def test_gini_indices_by_hand(run: Run) -> None:
    amounts = torch.rand(30, generator=torch.Generator().manual_seed(0)).double()
    assert float(gini(amounts)) == pytest.approx(by_differences(amounts))
    assert float(gini(torch.tensor([0.0, 0.0, 3.0, 0.0]))) == pytest.approx(3 / 4)
    assert float(gini(torch.zeros(4))) == 0
    found, draw = measured("compactness", "xattr:gradient", columns(), run)
    maps = gradient(columns().model, draw.inputs, draw.targets).double().abs()
    assert found.samples.tolist() == pytest.approx([by_differences(one) for one in maps])


def test_a_constant_is_the_least_compact(run: Run) -> None:
    for subject in (images(count=64), load_subject("analytic")):
        verdict = judge("compactness", "xattr:constant", subject, run)
        assert (verdict.status, verdict.gate) == ("pass", "none")
        assert verdict.interval is not None
        assert verdict.interval.value == pytest.approx(0, abs=1e-9)
        assert judge("compactness", "xattr:constant", subject, run, gate=AtLeast(0.25)).status == "fail"
        compact = judge("compactness", "xattr:gradient", subject, run).interval
        assert compact is not None
        assert compact.value > 0.25
