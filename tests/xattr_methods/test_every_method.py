"""What every method keeps, whatever happens: the model, and its maps."""

import inspect
import math
import sys
from typing import Any

import pytest
import torch
from networks import awkward, settled
from torch import Tensor, nn

import xattr_check
from xattr_check.core.method import Method
from xattr_check.core.state import ModelState, generator_states
from xattr_methods.gradients.integrated_gradients import convergence_delta

SIDE = 8
METHODS = {name: one for name, one in xattr_check.methods().items() if one.control is None}
# Enough of each parameter that a method may have to be a method, and where that is not enough or too much.
FEW = {
    "cells": 3, "copies": 2, "epochs": 1, "feature_steps": 2, "iterations": 3, "masks": 30,
    "permutations": 4, "samples": 8, "steps": 3,
}  # fmt: skip
# Other inputs of the model, for methods that ask for them.
DATA = torch.randn(12, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
OWN = {
    "kernel_shap": {"samples": 40}, "lime": {"samples": 30}, "occlusion": {"cells": None},
    "shapley": {"cells": 4},
}  # fmt: skip
OF_LAYERS = {"iba", "inverse_iba", "multilayer_iba", "regression_iba"}
every_method = pytest.mark.parametrize("name", sorted(METHODS))


class Doubled(nn.Module):
    """A leaf of one's own, which no function of torch.nn tells of."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * inputs


class Bounded(nn.Module):
    """A network that raises for more than so many inputs, when it has run, or on the way back."""

    def __init__(self, network: nn.Module, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.doubled, self.network, self.error = Doubled(), network, error
        self.limit = sys.maxsize
        self.backwards = False
        self.raised = 0

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(self.doubled(inputs))
        if self.backwards and logits.requires_grad:
            logits.register_hook(lambda _: self.check(len(inputs)))
        else:
            self.check(len(inputs))
        return logits

    def check(self, count: int) -> None:
        if count > self.limit:
            self.raised += 1
            raise self.error("too many")


def made(
    name: str, error: type[Exception] = torch.OutOfMemoryError, count: int = 5
) -> tuple[Bounded, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Bounded(settled(awkward(name)), error)
        inputs = torch.randn(count, 3, SIDE, SIDE, dtype=torch.float64)
    return model, inputs, torch.tensor([0, 2, 1, 1, 0])[:count]


def explain(name: str, *given: Any, **parameters: Any) -> Tensor:
    method: Method = METHODS[name]
    known = inspect.signature(method.function).parameters
    few: dict[str, Any] = {key: value for key, value in FEW.items() if key in known}
    if "data" in known:
        few["data"] = DATA.to(given[1])
    return method(*given, **few | OWN.get(name, {}) | parameters)


def assert_untouched(before: ModelState) -> None:
    # What a Bounded model and its test set themselves.
    own = {f"{name} of model" for name in ("limit", "backwards", "raised")}
    assert [change for change in before.changes() if change.place not in own] == []
    assert not any(module._forward_pre_hooks for module in before.model.modules())


@every_method
def test_maps_depend_on_nothing_but_the_input(name: str) -> None:
    model, inputs, targets = made(name)
    before, generators, given = ModelState(model), generator_states(), inputs.clone()
    maps = explain(name, model, inputs, targets)
    assert maps.shape in (inputs.shape, (len(inputs), 1, SIDE, SIDE))
    assert maps.dtype == torch.float64
    assert not maps.requires_grad
    torch.testing.assert_close(explain(name, model, inputs, targets), maps, rtol=0, atol=0)
    if "memory" in inspect.signature(METHODS[name].function).parameters:
        alone = explain(name, model, inputs, targets, memory=1)
        torch.testing.assert_close(alone, maps, rtol=1e-8, atol=1e-10)
    assert_untouched(before)
    assert torch.equal(generators[2], generator_states()[2])
    assert torch.equal(inputs, given)
    assert not inputs.requires_grad
    assert explain(name, model.float(), inputs.float(), targets).dtype == torch.float32


@every_method
def test_chunks_are_halved_where_memory_runs_out(name: str) -> None:
    model, inputs, targets = made(name)
    before = ModelState(model)
    whole = explain(name, model, inputs, targets)
    for limit in (1, 3):
        for model.backwards in (False, True):
            # The relevance methods write the forward pass down and differentiate it call by call; bottlenecks
            # of a layer have one input before it, however many there are behind.
            family = METHODS[name].function.__module__.split(".")[1]
            if model.backwards and (family == "relevance" or name in OF_LAYERS):
                continue
            model.limit, model.raised = limit, 0
            torch.testing.assert_close(explain(name, model, inputs, targets), whole, rtol=1e-8, atol=1e-10)
            # What does not fit is not tried again: of each loop, the powers of two below its first chunk.
            assert 0 < model.raised <= 2 * math.log2(40 * len(inputs))
    # An input that does not fit alone is told.
    model.limit, model.backwards = 0, False
    with pytest.raises(torch.OutOfMemoryError):
        explain(name, model, inputs, targets)
    assert_untouched(before)


@every_method
def test_a_model_that_raises_is_left_as_found(name: str) -> None:
    for trainable in (True, False):
        model, inputs, targets = made(name, RuntimeError)
        model.requires_grad_(trainable)
        before = ModelState(model)
        whole = explain(name, model, inputs, targets)
        model.limit = 1
        with pytest.raises(RuntimeError, match="too many"):
            explain(name, model, inputs, targets)
        assert model.raised == 1
        assert_untouched(before)
        model.limit = sys.maxsize
        torch.testing.assert_close(explain(name, model, inputs, targets), whole, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        *(
            (name, {"samples": 0}, f"{name}: expected samples of at least 1, came 0")
            for name in (
                "deepshap",
                "expected_gradients",
                "smooth_integrated_gradients",
                "smoothgrad",
                "smoothgrad_squared",
            )
        ),
        *(
            (name, {"noise": noise}, f"{name}: expected noise of at least 0, came {noise}")
            for name in (
                "deepshap",
                "smooth_integrated_gradients",
                "smoothgrad",
                "smoothgrad_squared",
                "vargrad",
            )
            for noise in (-1, math.nan, math.inf)
        ),
        *(
            ("lrp", {parameter: -1}, f"lrp: expected {parameter} of at least {least}, came -1")
            for parameter, least in (("epsilon", 0), ("gamma", 0), ("beta", 0), ("alpha", 1))
        ),
        (
            "deep_taylor",
            {"low": 1.0, "high": -1.0},
            f"deep_taylor: expected low of at most high, came more for {5 * 3 * 64} of {5 * 3 * 64}",
        ),
        ("shapley", {"exact": -1}, "shapley: expected exact of at least 0, came -1"),
        ("occlusion", {"cells": 4}, "occlusion: cells=4: expected regions beside it, came none"),
        (
            "pathway_gradient",
            {"start": math.inf},
            "pathway_gradient: expected start 'random' or a finite number above 0, came inf",
        ),
        ("lime", {"width": 0}, "lime: expected width above 0, came 0"),
        ("lime", {"penalty": -1}, "lime: expected penalty of at least 0, came -1"),
        ("morris_sbsa", {"gain": 0}, "morris_sbsa: expected gain above 0, came 0"),
        ("sobol_sbsa", {"gain": math.inf}, "sobol_sbsa: expected a finite gain above 0, came inf"),
        ("iba", {"call": 0}, "iba: call=0: expected layer=NAME beside it, came no layer"),
        ("iba", {"beta": math.inf}, "iba: expected a finite beta above 0, came inf"),
        ("gradcam", {"call": 1}, "call=1: expected layer=NAME beside it, came no layer"),
        (
            "excitation_backprop",
            {"call": 1},
            "excitation_backprop: call=1: expected layer=NAME beside it, came no layer",
        ),
        (
            "pathway_gradient",
            {"opening": 9},
            "pathway_gradient: expected an opening of at most 8, the shortest side, came 9",
        ),
        (
            "multilayer_iba",
            {"layers": ["first", "second"]},
            "multilayer_iba: expected layers='first,second', names with commas, came ['first', 'second']",
        ),
    ],
)
def test_parameters_that_are_out_of_range_are_told(
    name: str, parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as caught:
        explain(name, *made(name), **parameters)
    assert str(caught.value) == sentence


REAL = [
    (name, parameter)
    for name, method in sorted(METHODS.items())
    for parameter, known in inspect.signature(method.function).parameters.items()
    if "float" in str(known.annotation)
]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("name", "parameter"), REAL)
def test_numbers_that_are_none_are_told(name: str, parameter: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{parameter}.*came"):
        explain(name, *made(name), **{parameter: value})


@pytest.mark.parametrize(("name", "parameter"), [pair for pair in REAL if pair[1] in ("baseline", "low")])
def test_tensors_that_hold_such_or_do_not_fit_are_told(name: str, parameter: str) -> None:
    model, inputs, targets = made(name)
    broken = torch.zeros_like(inputs)
    broken[1, 2, 3, 4] = math.nan
    with pytest.raises(ValueError, match=f"{name}: expected {parameter} to be finite, came 1 of 960 values"):
        explain(name, model, inputs, targets, **{parameter: broken})
    with pytest.raises(ValueError, match=f"{name}: expected a.*broadcasts to .*, came .*7"):
        explain(name, model, inputs, targets, **{parameter: torch.zeros(7)})


def test_the_convergence_delta_is_measured_in_halves() -> None:
    model, inputs, targets = made("integrated_gradients")
    whole = convergence_delta(model, inputs, targets, inputs)
    model.limit = 2
    halved = convergence_delta(model, inputs, targets, inputs)
    torch.testing.assert_close(halved, whole, rtol=1e-9, atol=1e-12)


def test_references_side_by_side_are_fewer_where_memory_runs_out() -> None:
    model, inputs, targets = made("deepshap", count=1)
    whole = explain("deepshap", model, inputs, targets)
    model.limit = 1
    torch.testing.assert_close(explain("deepshap", model, inputs, targets), whole, rtol=1e-8, atol=1e-10)
    assert model.raised > 0
