"""How measured figures are compared with published ones."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from subjects import columns

from xattr_check import Store
from xattr_check.core.run import Run


def test_pairs_are_in_the_published_order_in_the_other_or_open(script: ModuleType) -> None:
    noise = torch.randn(64, generator=torch.Generator().manual_seed(0)).double()
    samples = {"a": 0.1 * noise, "b": 1 + 0.1 * noise, "c": 2 + 0.1 * noise, "d": 2 + noise}
    # By the paper a < c = d < b: a and b, a and c, a and d are as there; c and b, d and b are not.
    found = script.order(samples, {"a": 0.1, "b": 0.9, "c": 0.3, "d": 0.3})
    assert (found.same, found.open, found.other) == (3, 0, 2)
    assert found.against == (("b", "c"), ("b", "d"))
    assert found.rank == pytest.approx(0.316, abs=0.4)
    # Where noise is larger than the difference, the pair is open.
    assert script.order({"c": samples["c"], "d": samples["d"]}, {"c": 0.1, "d": 0.2}).open == 1


def test_figures_have_their_interval(script: ModuleType) -> None:
    assert script.figure(torch.full((8,), 0.25, dtype=torch.float64)) == "0.250 ± 0.000"


def test_sanity_is_judged_beside_its_references(script: ModuleType, tmp_path: Path) -> None:
    run = Run(store=Store(tmp_path))
    found = script.randomised("gradient", columns(count=32), run)
    assert set(found) == {"parameter_randomization", "parameter_randomization_independent"}
    told, outcome = found["parameter_randomization"]
    assert outcome == "pass"
    assert "±" in told
