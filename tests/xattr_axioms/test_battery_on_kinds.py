"""Inputs and outputs of every kind: what is right passes there, and what is wrong fails."""

from pathlib import Path

import pytest
from planted import planted
from torch import Tensor, nn

from xattr_check import Declined, run_battery
from xattr_methods import integrated_gradients

CHECKS = "shape or depends_on_target or deletion or sensitivity_n"


def reversed_along_the_last(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return integrated_gradients(model, inputs, targets).flip(-1)


def channel_for_position(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    maps = integrated_gradients(model, inputs, targets)
    return maps.flatten(2).sum(2).reshape(*maps.shape[:2], *[1] * (maps.ndim - 2)).expand_as(maps)


KINDS = [
    ("signal", "margin"),
    ("signal", "value"),
    *(pytest.param("signal", output, marks=pytest.mark.slow) for output in ("classes", "labels")),
    ("volume", "classes"),
]


@pytest.mark.parametrize(("kind", "output"), KINDS)
def test_right_and_wrong_maps(kind: str, output: str, tmp_path: Path) -> None:
    own = planted(kind, output)
    right = run_battery("xattr:integrated_gradients", own, checks=CHECKS, storage=tmp_path)
    assert right["sensitivity_n"].status == right["shape"].status == "pass"
    assert {one.check: one.sentence for one in right if one.status in ("fail", "error")} == {}
    alone = "the model of 'signal' has one output, and so there is one target"
    assert (right["depends_on_target"].sentence == alone) == (output == "value")
    for broken in (reversed_along_the_last, channel_for_position):
        assert run_battery(broken, own, checks="sensitivity_n", storage=tmp_path)[0].status == "fail"


def test_a_method_that_declines_is_no_error(tmp_path: Path) -> None:
    calls = []

    def declining(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(inputs))
        raise Declined("it knows no convolution of signals")

    results = run_battery(declining, planted("signal", "classes"), checks="shape or sanity", storage=tmp_path)
    told = {one.sentence for one in results if "does not offer" not in one.sentence}
    assert {one.status for one in results} == {"not_applicable"}
    assert told == {"the method declines the model: it knows no convolution of signals"}
    assert len(calls) < len(results)
