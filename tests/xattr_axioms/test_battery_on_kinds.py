"""Inputs and outputs of every kind: what is right passes there, and what is wrong fails."""

from pathlib import Path

import pytest
from broken_anywhere import BROKEN, broken_on
from planted import planted
from torch import Tensor, nn

from xattr_check import Declined, Subject, load_subject, run_battery

# Of each subject, a check that decides there, and defects that it tells.
DEFECTS = {
    "beats4": ("sensitivity_n", ("negated", "reversed_along_the_last")),
    "columns": ("deletion", ("negated", "moved", "one_number_for_all", "noise_for_the_model")),
    "regression": ("sensitivity_n", ("negated", "transposed", "noise_for_the_model")),
    "volume": ("deletion", ("transposed", "channel_for_position")),
    "embeddings": ("deletion", ("another_target", "moved", "channel_for_position")),
}


def subject_of(name: str) -> Subject:
    return planted(name, "classes") if name in ("volume", "embeddings") else load_subject(name)


@pytest.mark.parametrize("name", DEFECTS)
def test_the_place_of_evidence_tells_right_from_wrong(name: str, tmp_path: Path) -> None:
    subject, (check, defects) = subject_of(name), DEFECTS[name]
    right = run_battery("xattr:integrated_gradients", subject, checks=check, storage=tmp_path)[0]
    assert right.status == "pass", right.text
    for defect in defects:
        broken = BROKEN[defect].on(defect, subject)
        found = run_battery(broken, subject, checks=check, storage=tmp_path)[0]
        assert found.status == "fail", (defect, found.text)


OUTPUTS = ["margin", "value", *(pytest.param(name, marks=pytest.mark.slow) for name in ("classes", "labels"))]


@pytest.mark.parametrize("output", OUTPUTS)
def test_outputs_of_every_kind(output: str, tmp_path: Path) -> None:
    subject = planted("signal", output)
    checks = "shape or depends_on_target or deletion or sensitivity_n"
    right = run_battery("xattr:integrated_gradients", subject, checks=checks, storage=tmp_path)
    assert {one.check: one.sentence for one in right if one.status in ("fail", "error")} == {}
    alone = "the model of 'signal' has one output, and so there is one target"
    assert (right["depends_on_target"].sentence == alone) == (output == "value")
    for defect in ("negated", "reversed_along_the_last", "channel_for_position"):
        broken = BROKEN[defect].on(defect, subject)
        found = run_battery(broken, subject, checks="sensitivity_n", storage=tmp_path)
        assert found[0].status == "fail", defect


def test_each_layout_has_six_defects_at_least() -> None:
    for name in ("digits", "columns", "regression", "beats", "reviews", "volume", "embeddings"):
        assert len(list(broken_on(subject_of(name)))) >= 6, name


def test_a_method_that_declines_is_no_error(tmp_path: Path) -> None:
    calls = []

    def declining(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(inputs))
        raise Declined("it knows no convolution of signals")

    subject = planted("signal", "classes")
    results = run_battery(declining, subject, checks="shape or sanity", storage=tmp_path)
    told = {one.sentence for one in results if "does not offer" not in one.sentence}
    assert {one.status for one in results} == {"not_applicable"}
    assert told == {"the method declines the model: it knows no convolution of signals"}
    assert len(calls) < len(results)
