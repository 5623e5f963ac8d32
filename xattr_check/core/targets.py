"""Targets: which output is explained for each input, and what to type where they say something else."""

from typing import Any

import torch
from torch import Tensor

from xattr_check.errors import SubjectError

ZEROS = "torch.zeros(N).long()"


def expect_targets(targets: Any, count: int) -> None:
    """Raise SubjectError for what are no numbers of outputs, one for each of so many inputs."""
    expected = f"targets ({count},), one for each input"
    if targets is None:
        told = f"say which output is explained for each input, {ZEROS} where there is one alone"
        raise _wrong(expected, "None", told)
    if not isinstance(targets, Tensor):
        raise _wrong(expected, type(targets).__name__, "pass torch.as_tensor(targets)")
    if targets.shape != (count,):
        raise _wrong(expected, str(tuple(targets.shape)), _flattened(targets, count))
    if targets.dtype != torch.int64:
        raise _wrong("int64 targets, which output is explained", str(targets.dtype), _numbered(targets))


def expect_outputs(targets: Tensor, outputs: int) -> None:
    """Raise SubjectError for targets (N,) that are not all among so many outputs."""
    low, high = int(targets.min()), int(targets.max())
    if low >= 0 and high < outputs:
        return
    hint = ""
    if outputs == 1:
        hint = f"they say which output is explained, and not its value: {ZEROS}"
    elif (low, high) == (1, outputs):
        hint = "outputs are counted from 0: pass targets - 1"
    elif outputs == 2 and (low, high) == (-1, 1):
        hint = "outputs are counted from 0: pass (targets > 0).long()"
    raise _wrong(f"targets in 0…{outputs - 1}, the model's outputs", f"{low}…{high}", hint)


def _flattened(targets: Tensor, count: int) -> str:
    """What to type for targets of several columns: one column, or one for each class."""
    columns = targets.shape[1:]
    if targets.shape[:1] != (count,) or len(columns) != 1:
        return ""
    if columns == (1,):
        return "pass targets[:, 0]"
    if not bool(((targets == 0) | (targets == 1)).all()):
        return ""
    if bool((targets.sum(1) == 1).all()):
        return "pass targets.argmax(1)"
    return "one label of each input is explained: pass targets.int().argmax(1) for the first that it has"


def _numbered(targets: Tensor) -> str:
    """What to type for targets (N,) of another type: whole numbers are the same as int64."""
    if targets.is_floating_point() and not bool((targets == targets.round()).all()):
        return f"for real values say output='value', with {ZEROS} for the only one"
    return "pass targets.long()"


def _wrong(expected: str, came: str, hint: str) -> SubjectError:
    return SubjectError(option="subject", expected=expected, came=came, hint=hint)
