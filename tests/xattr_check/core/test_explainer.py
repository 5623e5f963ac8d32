import contextlib
import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from subjects import columns, images, tokens
from torch import Tensor, nn

from xattr_check import MethodError, Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.faults import finite_fault, shape_fault, type_fault
from xattr_check.core.layouts import layout_of
from xattr_check.core.run import Run
from xattr_check.core.state import ModelState, generator_states
from xattr_check.core.units import By, Units


class Counted:
    """Returns the inputs, and remembers the size of every batch."""

    def __init__(self, answer: Callable[[Tensor], Any] = Tensor.clone) -> None:
        self.sizes: list[int] = []
        self.answer = answer

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
        self.sizes.append(len(inputs))
        return self.answer(inputs)


def explain(function: Any, subject: Subject, run: Run) -> Explainer:
    return Explainer.of(load_method(function), subject, run)


def test_the_same_maps_are_computed_once(run: Run) -> None:
    subject, method = images(), Counted()
    explainer = explain(method, subject, run)
    first = explainer(subject.model, subject.inputs[:5], subject.targets[:5])
    again = explainer(subject.model, subject.inputs[:5].clone(), subject.targets[:5])
    assert again is first
    assert method.sizes == [5]
    explainer(subject.model, subject.inputs[:4], subject.targets[:4])
    explainer(subject.model, subject.inputs[:5], subject.targets[:5] * 0)
    explainer(images(seed=1).model, subject.inputs[:5], subject.targets[:5])
    explainer(subject.model, subject.inputs[:5], subject.targets[:5], seed=1)
    assert method.sizes == [5, 4, 5, 5, 5]


@pytest.mark.parametrize("by", [None, "pixels", "channels", "regions"])
@pytest.mark.parametrize("sensitivity", [False, True])
def test_signed_sums_keep_the_signs_of_a_sensitivity(by: By | None, sensitivity: bool, run: Run) -> None:
    for subject in (images(), columns(), tokens()):
        method = replace(load_method(Counted()), sensitivity=sensitivity)
        explainer, asked = (
            Explainer.of(method, subject, run),
            (subject.model, subject.inputs, subject.targets),
        )
        units = None if by is None else Units.of(subject, by)
        every = units or Units.of(subject, "pixels")
        signed, scores = explainer.signed(*asked, units), explainer.scores(*asked, units)
        assert torch.equal(signed, every.sums(subject.inputs))
        assert torch.equal(scores, every.sums(subject.inputs.abs() if sensitivity else subject.inputs))


def test_batches_are_of_the_size_of_the_run(run: Run) -> None:
    run.batch = 5
    subject, method = images(count=12), Counted()
    maps = explain(method, subject, run)(subject.model, subject.inputs, subject.targets)
    assert method.sizes == [5, 5, 2]
    assert torch.equal(maps, subject.inputs)


def test_a_method_gets_clones_and_the_model_back_as_it_was(run: Run) -> None:
    def vandal(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        inputs.zero_()
        targets.zero_()
        model.train()
        model(torch.randn(4, 3, 12, 12))
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        model.register_forward_hook(lambda *_: None)
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        return torch.randn(inputs.shape)

    subject = images()
    inputs, targets, state = subject.inputs.clone(), subject.targets.clone(), ModelState(subject.model)
    generators = generator_states()
    explain(vandal, subject, run)(subject.model, subject.inputs, subject.targets)
    assert torch.equal(subject.inputs, inputs)
    assert torch.equal(subject.targets, targets)
    assert not any(state.differences().values())
    after = generator_states()
    assert after[0] == generators[0]
    assert np.array_equal(after[1]["state"]["key"], generators[1]["state"]["key"])
    assert torch.equal(after[2], generators[2])


def test_generators_follow_from_the_seed_and_the_batch(run: Run) -> None:
    def noise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.randn(inputs.shape)

    subject = images()
    batch = subject.model, subject.inputs[:2], subject.targets[:2]
    maps = [explain(noise, subject, run).raw(*batch, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])
    run.seed = 1
    assert not torch.equal(explain(noise, subject, run).raw(*batch), maps[0])


def test_gradients_are_enabled_even_where_the_caller_disabled_them(run: Run) -> None:
    subject = images()
    with torch.no_grad():
        maps = explain("xattr:gradient", subject, run)(subject.model, subject.inputs, subject.targets)
    assert maps.abs().sum() > 0
    assert not maps.requires_grad


def test_a_slow_method_is_stopped_once_and_for_all(run: Run) -> None:
    def slow(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        with contextlib.suppress(Exception):
            time.sleep(30)
        return inputs

    calls: list[int] = []
    run.timeout = 0.2
    subject = images()
    explainer = explain(slow, subject, run)
    started = time.monotonic()
    for count in (3, 2):
        with pytest.raises(MethodError) as raised:
            explainer(subject.model, subject.inputs[:count], subject.targets[:count])
        assert str(raised.value) == (
            "took longer than 0.2 s on 3 inputs; raise the limit with --xattr-timeout=SECONDS"
        )
    assert calls == [1]
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(("length", "ending"), [(1, "w"), (3000, "w"), (90_000, "w …")])
def test_a_message_is_told_whole_on_one_line(run: Run, length: int, ending: str) -> None:
    def wordy(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        raise ValueError("expected\n\x1b[31m" + length * "w")

    subject = images()
    with pytest.raises(MethodError) as raised:
        explain(wordy, subject, run)(subject.model, subject.inputs[:2], subject.targets[:2])
    text, _, place = str(raised.value).rpartition(" (")
    assert text.startswith("raised ValueError: expected ?[31mw")
    assert text.endswith(ending)
    assert text.count("w") == min(length, 4000 - len("expected ?[31m"))
    assert place.startswith("test_explainer.py:")


class RaisesOn:
    """Raises on inputs whose first value is above a bound, or on batches of more than so many."""

    def __init__(self, rows: Callable[[Tensor], bool]) -> None:
        self.rows = rows

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        if self.rows(inputs):
            raise RuntimeError("singular\n matrix")
        return inputs


@pytest.mark.parametrize(
    ("rows", "story"),
    [
        (lambda inputs: True, ""),
        (
            lambda inputs: bool((inputs[:, 0, 0, 0] == 7).any()),
            ", on 1 of 4 inputs (first: number 2 of the batch)",
        ),
        (lambda inputs: len(inputs) > 1, ", on a batch of 4 inputs but on none of them alone"),
    ],
)
def test_the_story_of_a_raise(rows: Callable[[Tensor], bool], story: str, run: Run) -> None:
    subject = images(count=4)
    subject.inputs[2, 0, 0, 0] = 7
    with pytest.raises(MethodError) as raised:
        explain(RaisesOn(rows), subject, run)(subject.model, subject.inputs, subject.targets)
    text = re.sub(r":\d+\)", ":LINE)", str(raised.value))
    assert text == f"raised RuntimeError: singular matrix (test_explainer.py:LINE){story}"
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_exit_is_a_raise_and_an_interrupt_is_not(run: Run) -> None:
    def exits(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        raise SystemExit(3)

    def interrupted(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        raise KeyboardInterrupt

    subject = images(count=2)
    with pytest.raises(MethodError, match="raised SystemExit: 3"):
        explain(exits, subject, run)(subject.model, subject.inputs, subject.targets)
    with pytest.raises(KeyboardInterrupt):
        explain(interrupted, subject, run)(subject.model, subject.inputs, subject.targets)


def test_an_error_is_remembered(run: Run) -> None:
    subject, method = images(count=2), Counted(lambda inputs: inputs[:1])
    explainer = explain(method, subject, run)
    for _ in range(2):
        with pytest.raises(MethodError, match="expected a tensor"):
            explainer(subject.model, subject.inputs, subject.targets)
    assert len(method.sizes) == 1


@pytest.mark.parametrize(
    ("make", "shapes", "sentence"),
    [
        (
            images,
            [(4, 3, 12, 12), (4, 1, 12, 12)],
            "expected a tensor (N, 3, 12, 12) or (N, 1, 12, 12), came (1,)",
        ),
        (columns, [(4, 6)], "expected a tensor (N, 6), came (1,)"),
        (tokens, [(4, 5, 4), (4, 5, 1)], "expected a tensor (N, 5, 4) or (N, 5, 1), came (1,)"),
    ],
)
def test_shapes(make: Callable[..., Subject], shapes: list[tuple[int, ...]], sentence: str) -> None:
    subject = make(count=4)
    inputs, layout = subject.inputs, subject.layout
    for shape in shapes:
        assert shape_fault(torch.zeros(shape), inputs, layout) == ""
    for shape in [(1,), (4,), tuple(inputs.shape[1:]), (3, *inputs.shape[1:])]:
        assert shape_fault(torch.zeros(shape), inputs, layout)
    assert shape_fault(torch.zeros(1), inputs, layout) == sentence


def test_other_faults() -> None:
    inputs = torch.zeros(3, 4)
    layout = layout_of(inputs)
    assert (
        shape_fault(None, inputs, layout)
        == "expected a tensor (N, 4), came None; does the function return its map?"
    )
    assert shape_fault((inputs, inputs), inputs, layout) == (
        "expected a tensor (N, 4), came a tuple of 2; return the map alone"
    )
    assert shape_fault(inputs.to_sparse(), inputs, layout) == (
        "expected a tensor (N, 4), came a tensor of layout torch.sparse_coo; return .to_dense() of it"
    )
    assert type_fault(inputs.half(), inputs) == ""
    assert type_fault(inputs.bool(), inputs).startswith(
        "expected floating-point attributions, came torch.bool"
    )
    assert type_fault(inputs.to("meta"), inputs).endswith("came meta")
    assert finite_fault(inputs) == ""
    inputs[1, 2], inputs[2, 0] = float("inf"), float("-inf")
    assert (
        finite_fault(inputs) == "infinite values in the maps of 2 of 3 inputs (first: number 1 of the batch)"
    )
    inputs[2, 1] = float("nan")
    assert finite_fault(inputs) == "NaN in the maps of 2 of 3 inputs (first: number 1 of the batch)"
