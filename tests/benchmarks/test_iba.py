"""The procedure that information bottlenecks are timed against finds what they find."""

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from xattr_check.core.layouts import layout_of
from xattr_check.statistics.similarity import correlation
from xattr_methods import iba, inverse_iba
from xattr_methods.information._place import find_place
from xattr_methods.information._statistics import statistics_of

SIDE = 8


@pytest.mark.parametrize("method", [iba, inverse_iba], ids=lambda method: method.name)
def test_maps_of_the_released_procedure_are_ours_but_for_the_noise(
    method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    benchmark = importlib.import_module("iba")
    torch.manual_seed(0)
    region = torch.zeros(1, SIDE, SIDE, dtype=torch.float64)
    region[:, 2:5, 3:6] = 1
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(SIDE**2, 2, bias=False)).double()
    with torch.no_grad():
        model[2].weight.copy_(torch.stack([-region.flatten(), region.flatten()]))
    inputs, data = (torch.randn(count, 1, SIDE, SIDE, dtype=torch.float64) for count in (4, 200))
    inputs, targets = 0.1 * inputs + 2 * region, torch.ones(4, dtype=torch.int64)
    place = find_place("iba", model, inputs, layout_of(inputs), "0")
    known = statistics_of("iba", place, model, data, None, 2**29)
    theirs = benchmark.released(model, "0", inputs, targets, known, method is inverse_iba)
    # They measure what passes before the last step.
    given = {"layer": "0", "beta": benchmark.BETA, "steps": benchmark.STEPS - 1}
    ours = method(model, inputs, targets, data=data, **given)
    assert theirs.shape == ours.shape
    assert bool((correlation(theirs.flatten(1), ours.flatten(1)) > 0.99).all())
    torch.testing.assert_close(*(one.flatten(1).sum(1) for one in (theirs, ours)), rtol=0.2, atol=0)
    # Nothing is left on the model.
    assert not model[0]._forward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
