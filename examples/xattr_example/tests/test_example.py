"""The check tells right from broken, the subject's truth holds, and so does what the method claims."""

import pytest
import torch
from torch import Tensor, nn

import xattr_check
from xattr_check import Subject
from xattr_check.battery.judge import Judge


@pytest.fixture(scope="session")
def xattr_subject() -> Subject:
    """What xattr_run judges on."""
    return xattr_check.load_subject("linear_columns")


def test_the_effects_are_true(xattr_subject: Subject) -> None:
    """By brute force."""
    inputs, rows = xattr_subject.inputs, torch.arange(len(xattr_subject.inputs))
    with torch.no_grad():
        for column in range(inputs.shape[1]):
            without = inputs.clone()
            without[:, column] = 0
            lost = (xattr_subject.model(inputs) - xattr_subject.model(without))[rows, xattr_subject.targets]
            torch.testing.assert_close(lost, xattr_subject.truth["effect"][:, column], rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["xattr:column_occlusion", "xattr:input_x_gradient"])
def test_right_methods_pass(method: str, xattr_run: Judge) -> None:
    """Ours, and one that comes with xattr-check."""
    verdict = xattr_run(method, "agrees_with_effects")
    assert verdict.status == "pass", verdict.sentence


def flipped(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The sign is lost."""
    found: Tensor = -xattr_check.methods()["column_occlusion"](model, inputs, targets)
    return found


@pytest.mark.parametrize("method", [flipped, "xattr:gradient"])
def test_broken_methods_fail(method: object, xattr_run: Judge) -> None:
    """One with the wrong sign, and one that forgets the input."""
    verdict = xattr_run(method, "agrees_with_effects")
    assert verdict.status == "fail", verdict.sentence


@xattr_check.parametrize_with_checks(
    "xattr:column_occlusion", subject="linear_columns", checks="contract or dummy"
)
def test_column_occlusion(check) -> None:  # type: ignore[no-untyped-def]
    """Its contract and its claim."""
    check()
