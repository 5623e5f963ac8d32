"""Methods that take or return arrays, as those written for Quantus do."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xattr_check import UsageError, load_method, takes_numpy
from xattr_check.core.method import as_method

INPUTS = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
TARGETS = torch.tensor([1, 0])
MODEL = nn.Linear(2, 2)


def judged(function, **parameters) -> Tensor:
    found = load_method(function).with_parameters("given", parameters)
    maps = found(MODEL, INPUTS.clone(), TARGETS.clone())
    assert isinstance(maps, Tensor)
    assert maps.dtype == INPUTS.dtype
    return maps


def for_quantus(model, inputs, targets, **kwargs) -> np.ndarray:
    """As the documentation of Quantus has it: arrays in, an array out."""
    assert isinstance(targets, np.ndarray)
    x = torch.from_numpy(inputs).to(kwargs.get("device", "cpu"))
    return (x.numpy() * kwargs.get("factor", 1)).astype(np.float64)


def by_keyword(**kwargs):
    assert isinstance(kwargs["inputs"], np.ndarray)
    return kwargs["inputs"].astype(float) * kwargs.get("factor", 1)


def keywords_alone(*, factor=1, targets, inputs, model):
    return inputs.detach() * factor  # an array has no detach


def annotated(net, x: "np.ndarray", y, factor=1):
    assert isinstance(x, np.ndarray)
    return factor * x


@takes_numpy
def marked(model, inputs, targets, factor=1):
    assert isinstance(inputs, np.ndarray)
    return factor * inputs


def torchs(model, inputs, targets, factor=1):
    return (factor * inputs.detach()).numpy()


@pytest.mark.parametrize("function", [for_quantus, by_keyword, keywords_alone, annotated, marked, torchs])
def test_arrays_are_given_and_taken(function) -> None:
    torch.testing.assert_close(judged(function), INPUTS)
    torch.testing.assert_close(judged(function, factor=3), 3 * INPUTS)


def test_a_parameter_that_a_keyword_function_does_not_take_is_told() -> None:
    with pytest.raises(UsageError, match="expected a parameter among factor, came 'scale'"):
        judged(keywords_alone, scale=3)


def test_what_is_taken_is_found_out_once() -> None:
    calls: list[type] = []

    def noted(model, inputs, targets):
        calls.append(type(inputs))
        return inputs.astype(np.float32)

    found = as_method(noted)
    for _ in range(3):
        found(MODEL, INPUTS, TARGETS)
    assert calls == [Tensor, np.ndarray, np.ndarray, np.ndarray]


def test_a_torch_function_is_never_given_arrays_once_it_worked() -> None:
    calls: list[type] = []

    def fickle(model, inputs, targets):
        calls.append(type(inputs))
        if len(calls) > 1:
            raise ValueError("not today")
        return inputs

    found = as_method(fickle)
    found(MODEL, INPUTS, TARGETS)
    with pytest.raises(ValueError, match="not today"):
        found(MODEL, INPUTS, TARGETS)
    assert calls == [Tensor, Tensor]


def test_the_first_error_counts_where_neither_works() -> None:
    def broken(model, inputs, targets):
        if isinstance(inputs, Tensor):
            raise ValueError("the true reason")
        raise OSError("a consequence")

    with pytest.raises(ValueError, match="the true reason") as told:
        as_method(broken)(MODEL, INPUTS, TARGETS)
    assert told.traceback[-1].name == "broken"


def test_other_errors_are_not_tried_again() -> None:
    calls = []

    def failing(model, inputs, targets):
        calls.append(inputs)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        as_method(failing)(MODEL, INPUTS, TARGETS)
    assert len(calls) == 1


def test_an_annotated_torch_function_is_left_alone() -> None:
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs

    assert as_method(explain).function is explain


def test_the_second_try_sees_the_inputs_as_they_were() -> None:
    def careless(model, inputs, targets):
        inputs *= 2
        return inputs.astype(np.float32)

    torch.testing.assert_close(judged(careless), 2 * INPUTS)


def test_a_change_of_an_array_is_a_change_of_the_tensor() -> None:
    @takes_numpy
    def careless(model, inputs, targets):
        inputs[:] = 0
        return inputs

    given = INPUTS.clone()
    as_method(careless)(MODEL, given, TARGETS)
    assert not given.any()


def test_arrays_get_the_type_and_device_of_the_inputs() -> None:
    def double(model, inputs, targets):
        return inputs.numpy().astype(np.float64)[:, ::-1]  # strides that torch does not take

    torch.testing.assert_close(judged(double), INPUTS.flip(1))
    whole = as_method(lambda model, inputs, targets: np.ones((2, 2), dtype=np.uint8))
    assert whole(MODEL, INPUTS, TARGETS).dtype == torch.uint8  # for the checks to find
    objects = as_method(lambda model, inputs, targets: np.array([None, None]))
    assert isinstance(objects(MODEL, INPUTS, TARGETS), np.ndarray)


def test_declarations_and_docstrings_are_kept() -> None:
    found = as_method(for_quantus)
    assert found.statement.startswith("As the documentation of Quantus has it")
    assert found.name == "for_quantus"


def test_what_takes_neither_form_of_a_call_is_refused() -> None:
    def lonely(model): ...

    with pytest.raises(UsageError, match=r"came lonely\(model\)"):
        as_method(lonely)
