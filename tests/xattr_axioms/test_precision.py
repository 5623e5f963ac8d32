"""Of models in other precisions: a step of rounding is no defect, and what is broken still fails."""

from typing import Any

import broken_methods
import pytest
import torch
from judging import judge
from subjects import images
from torch import Tensor

from xattr_axioms.contract._calls import ROUNDING, steps, tolerance, within
from xattr_check import Subject
from xattr_check.core.explainer import Explainer
from xattr_check.core.method import as_method
from xattr_check.core.precision import coarseness, rounding_step
from xattr_check.core.run import Run
from xattr_check.storage.store import Store

COARSE = [torch.bfloat16, torch.float16]
KINDS = [*COARSE, torch.float64]


def in_precision(kind: torch.dtype, count: int = 12) -> Subject:
    subject = images(count)
    return Subject(str(kind), subject.model.to(kind), subject.inputs.to(kind), subject.targets)


CLAIMED = {
    "gradient": ("implementation_invariance", "input_shift_invariance", "linearity"),
    "occlusion": ("implementation_invariance", "linearity"),
    "integrated_gradients": ("completeness", "symmetry", "dummy"),
    "gradcam": ("implementation_invariance", "input_shift_invariance"),
    "lrp": ("dead_neurons",),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_right_methods_fail_nothing(kind: torch.dtype, run: Run) -> None:
    subject, checks = in_precision(kind), ("batch_independent", "deterministic", "depends_on_target")
    found = [
        judge(check, f"xattr:{name}", subject, run)
        for name, claimed in CLAIMED.items()
        for check in (*checks, *claimed)
    ]
    # A mean over twelve inputs may be undecided, in any precision.
    assert [str(one) for one in found if one.status not in ("pass", "undecided")] == []
    assert max(one.interval.value for one in found if one.interval is not None) <= 0.03


BROKEN = {
    "normalised_over_batch": "batch_independent",
    "undeclared_noise": "deterministic",
    "ignores_model": "depends_on_model",
    "predicted_times_probability": "depends_on_target",
    "constant_map": "depends_on_input",
    "largest_is_one": "linearity",
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_broken_methods_still_fail(kind: torch.dtype, run: Run) -> None:
    subject = in_precision(kind, 64)
    found = {
        name: judge(check, broken_methods.broken(name), subject, run).status for name, check in BROKEN.items()
    }
    assert found == dict.fromkeys(BROKEN, "fail")


def test_the_coarsest_part_counts() -> None:
    subject = images()
    assert rounding_step(subject.model, subject.inputs) == torch.finfo(torch.float32).eps
    assert coarseness(subject.model, subject.inputs) == 0
    assert coarseness(subject.model.double(), subject.inputs.double()) == 0

    def inside(module: Any, inputs: Any, outputs: Tensor) -> Tensor:
        return outputs.bfloat16()

    subject.model.register_forward_hook(inside)
    assert coarseness(subject.model, subject.inputs.double()) == torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
def test_tolerances_of_single_precision_are_as_they_were(kind: torch.dtype, run: Run) -> None:
    subject = in_precision(kind)
    draw = next(run.draws("any", subject, 4))
    method = Explainer.of(as_method(lambda model, inputs, targets: inputs, "inputs"), subject, run)
    assert (steps(draw), tolerance(method, draw), tolerance(method, draw, 0.01)) == (ROUNDING, ROUNDING, 0.01)
    shares = torch.tensor([0, 1e-7, ROUNDING, 0.0011, 1])
    assert torch.equal(within(shares, ROUNDING), shares)


@pytest.mark.parametrize("kind", COARSE, ids=str)
def test_the_store_and_the_other_checks_take_coarse_numbers(kind: torch.dtype, run: Run) -> None:
    stored = {"maps": torch.randn(3, 4).to(kind)}
    for _ in range(2):
        found = Store(run.store.folder).fetch("coarse", {}, lambda: stored)
        assert found["maps"].dtype == kind
        assert torch.equal(found["maps"], stored["maps"])
    subject = in_precision(kind)
    for check in ("deletion", "insertion", "sensitivity_n", "parameter_randomization"):
        assert judge(check, "xattr:gradient", subject, run).status != "error"


def of_arrays(model: Any, inputs: Any, targets: Any) -> Any:
    if isinstance(inputs, Tensor):
        raise TypeError
    inputs[:] = 0
    return inputs + 1


def test_a_function_of_arrays_takes_what_numpy_has_no_name_for(run: Run) -> None:
    subject = in_precision(torch.bfloat16)
    maps = as_method(of_arrays)(subject.model, subject.inputs, subject.targets)
    assert maps.dtype == torch.bfloat16
    assert not subject.inputs.any()
