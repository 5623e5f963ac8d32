"""A user is told of a method that will keep them waiting, once, and again where it is far slower."""

import time
from dataclasses import replace

import pytest
import torch
from subjects import images
from torch import Tensor, nn

from xattr_check import load_method, load_subject
from xattr_check.core.explainer import Explainer
from xattr_check.core.pace import Pace
from xattr_check.core.run import Draw, Run
from xattr_check.core.timeout import uncounted
from xattr_check.diagnosis.price import price


@pytest.fixture
def told(run: Run) -> list[str]:
    found: list[str] = []
    run.warn = found.append
    return found


def pace(spec: str, run: Run) -> Pace:
    return Pace.of(load_method(spec), images(), run)


def test_a_slow_method_is_told_of_with_what_makes_it_cheaper(run: Run, told: list[str]) -> None:
    pace("xattr:kernel_shap", run).note(20.0, 8)
    assert told == [
        "xattr:kernel_shap takes 2.5 s for a map or more, and all checks of a quick run ask for about 1000: "
        "42 minutes; xattr:kernel_shap?samples=512 takes less than 2048, --xattr-checks=NAMES asks for fewer"
    ]


def test_a_parameter_that_was_given_is_the_one_to_lower(run: Run, told: list[str]) -> None:
    pace("xattr:rise?masks=400", run).note(20.0, 8)
    assert "xattr:rise?masks=100 takes less than 400" in told[0]
    pace("xattr:gradient", run).note(20.0, 8)
    assert told[1].endswith("about 1000: 42 minutes; --xattr-checks=NAMES asks for fewer")


@pytest.mark.parametrize(("asks", "told_of"), [(False, True), (True, False)])
def test_what_is_called_on_one_input_at_a_time_is_told_what_to_ask_for(
    run: Run, told: list[str], asks: bool, told_of: bool
) -> None:
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs

    def explain_batches(
        model: nn.Module, inputs: Tensor, targets: Tensor, context: dict[str, Tensor]
    ) -> Tensor:
        return inputs

    subject = load_subject("reviews")
    method = load_method(explain_batches if asks else explain).bind(subject)
    Pace.of(method, subject, run).note(20.0, 8)
    assert ("one input at a time" in told[0], "model(inputs, **context)" in told[0]) == (told_of, told_of)


def test_it_is_told_again_only_where_it_is_far_slower(run: Run, told: list[str]) -> None:
    found = pace("xattr:kernel_shap", run)
    for seconds in (20.0, 30.0, 20.0):
        found.note(seconds, 32)
    assert len(told) == 1
    found.note(200.0, 32)
    assert len(told) == 2


def test_neither_a_fast_method_nor_a_slow_start(run: Run, told: list[str]) -> None:
    found = pace("xattr:kernel_shap", run)
    for seconds in (9.0, 0.1, 0.2):
        found.note(seconds, 8)
    assert told == []


def test_every_call_counts(run: Run, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs

    subject = images()
    explainer = Explainer.of(replace(load_method(explain), name="mine"), subject, run)
    monkeypatch.setattr("xattr_check.core.pace.MAPS", 10**9)
    for rows in (slice(0, 4), slice(4, 8)):
        explainer(subject.model, subject.inputs[rows], subject.targets[rows])
    assert len(told) == 1
    assert told[0].startswith("mine takes ")


def test_what_is_learned_for_all_is_nobodys_pace(
    run: Run, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with uncounted():
            time.sleep(0.1)
        return inputs

    subject, noted = images(), list[float]()
    explainer = Explainer.of(replace(load_method(explain), name="mine"), subject, run)
    monkeypatch.setattr(Pace, "note", lambda pace, seconds, count: noted.append(seconds))
    explainer(subject.model, subject.inputs[:4], subject.targets[:4])
    draw = Draw(run, subject, torch.arange(4), 0)
    noted += [price(explainer.method, draw).each * len(draw.indices)]
    assert max(noted) < 0.1
