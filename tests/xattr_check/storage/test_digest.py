import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from xattr_check.storage.digest import TensorStamp, derive_seed, digest, digest_model, digest_rows


@given(st.permutations(range(6)), st.integers(1, 6))
def test_a_row_has_one_digest_in_any_batch(order: list[int], size: int) -> None:
    inputs = torch.arange(6 * 2 * 3, dtype=torch.float32).reshape(6, 2, 3).sin()
    whole = digest_rows(inputs)
    shuffled = [row for chunk in inputs[order].split(size) for row in digest_rows(chunk)]
    assert shuffled == [whole[index] for index in order]
    assert len(set(whole)) == 6
    assert all(0 <= row < 2**63 for row in whole)


def test_rows_do_not_depend_on_the_layout_in_memory() -> None:
    inputs = torch.randn(4, 3, 8, 8)
    assert digest_rows(inputs.to(memory_format=torch.channels_last)) == digest_rows(inputs)
    assert digest_rows(inputs.transpose(2, 3)) != digest_rows(inputs)


def test_one_number_may_lie_anywhere() -> None:
    numbers = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    assert digest(numbers[1:2, 1:2].T) == digest(torch.tensor([[5.0]], dtype=torch.float64))


@pytest.mark.parametrize(
    "other",
    [
        torch.zeros(2, 3),
        torch.zeros(6),
        torch.zeros(3, 2, dtype=torch.float64),
        torch.zeros(3, 2, dtype=torch.int32),
        torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, -0.0]]),
    ],
)
def test_shape_type_and_bits_count(other: torch.Tensor) -> None:
    assert digest(torch.zeros(3, 2)) != digest(other)
    assert digest(torch.zeros(3, 2)) == digest(torch.zeros(2, 3).T.contiguous())


def test_parts_do_not_run_into_each_other() -> None:
    found = {
        digest("ab", "c"),
        digest("a", "bc"),
        digest(["ab", "c"]),
        digest(["a"], ["bc"]),
        digest({"a": 1, "b": 2}),
        digest({"a": 12}),
        digest(1),
        digest("1"),
        digest(1.0),
        digest(None),
        digest(True),
    }
    assert len(found) == 11
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": (2, 3), "a": 1})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.int64])
def test_all_types_of_numbers(dtype: torch.dtype) -> None:
    assert digest(torch.ones(3).to(dtype)) == digest(torch.ones(3).to(dtype))
    assert digest(torch.ones(0).to(dtype)) != digest(torch.ones(1).to(dtype))


def test_a_digest_is_the_same_in_another_process() -> None:
    code = (
        "import torch; from xattr_check.storage.digest import derive_seed\n"
        "print(derive_seed('order', 0, torch.ones(2)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == derive_seed("order", 0, torch.ones(2))


def test_a_model_is_its_architecture_weights_and_buffers() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())
    before = digest_model(model)
    assert digest_model(model) == before
    model[1].running_mean += 1
    moved = digest_model(model)
    model[2] = nn.Tanh()
    assert len({before, moved, digest_model(model)}) == 3


def test_plain_attributes_of_a_model_count_and_its_mode_does_not() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    before = digest_model(model)
    assert digest_model(model.eval()) == before
    model.temperature = 2.0
    assert digest_model(model) != before


class Weighted:
    """An object that a model may hold."""

    def __init__(self, factor: float) -> None:
        self.factor = factor


def doubled(module: nn.Module, inputs: object, outputs: torch.Tensor) -> torch.Tensor:
    return 2 * outputs


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.ReLU(), nn.Dropout(0.1))


# What changes, or may change, the outputs of a model.
EDITS: dict[str, Callable[[nn.Sequential], object]] = {
    "eps": lambda model: setattr(model[1], "eps", 3.0),
    "momentum": lambda model: setattr(model[1], "momentum", None),
    "p": lambda model: setattr(model[3], "p", 0.9),
    "inplace": lambda model: setattr(model[2], "inplace", True),
    "stride": lambda model: setattr(model[0], "stride", (2, 2)),
    "private": lambda model: setattr(model[0], "_reversed_padding_repeated_twice", [1, 1, 1, 1]),
    "class": lambda model: setattr(model[2], "__class__", nn.Hardswish),
    "list": lambda model: setattr(model, "sizes", [1, 2]),
    "longer list": lambda model: setattr(model, "sizes", [1, 2, 3]),
    "dict": lambda model: setattr(model, "options", {"scale": 1.0}),
    "tensor": lambda model: setattr(model, "table", torch.zeros(2)),
    "other tensor": lambda model: setattr(model, "table", torch.ones(2)),
    "array": lambda model: setattr(model, "table", np.ones(2)),
    "object": lambda model: setattr(model, "config", Weighted(1.0)),
    "other object": lambda model: setattr(model, "config", Weighted(2.0)),
    "hidden module": lambda model: setattr(model, "others", [nn.Softplus(beta=2)]),
    "other hidden module": lambda model: setattr(model, "others", [nn.Softplus(beta=3)]),
    "own forward": lambda model: setattr(model[2], "forward", torch.tanh),
    "other own forward": lambda model: setattr(model[2], "forward", torch.sigmoid),
    "forward of one's own": lambda model: setattr(model[2], "forward", lambda inputs: 2 * inputs),
    "other forward of one's own": lambda model: setattr(model[2], "forward", lambda inputs: 3 * inputs),
    "hook": lambda model: model[2].register_forward_hook(doubled),
    "buffer that is not saved": lambda model: model.register_buffer("mask", torch.ones(1), persistent=False),
    "device": lambda model: setattr(model, "where", torch.device("cpu")),
}


def digests() -> dict[str, str]:
    """Of the network as it is, and after each edit."""
    found = {"none": digest_model(network())}
    for name, edit in EDITS.items():
        model = network()
        # Hooks are numbered through a process, which is of no account.
        model[2].register_forward_hook(doubled).remove()
        edit(model)
        found[name] = digest_model(model)
    return found


def test_all_that_the_outputs_may_depend_on_counts() -> None:
    found = digests()
    assert len(set(found.values())) == len(EDITS) + 1
    assert digests() == found


def test_a_model_has_the_same_digest_in_another_process() -> None:
    code = "import json, test_digest; print(json.dumps(test_digest.digests()))"
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=path)
    found = json.loads(done.stdout)
    # The classes and functions of this file are of a module with another name there.
    own = {"object", "other object", "hook", *(name for name in EDITS if "one's own" in name)}
    assert {name for name, value in digests().items() if found[name] != value} <= own


def test_a_stamp_tells_a_write_and_looks_at_no_values() -> None:
    weight = torch.ones(3)
    before = TensorStamp(weight)
    assert before == TensorStamp(weight)
    assert before != TensorStamp(torch.ones(3))
    weight.mul_(2)
    assert before != TensorStamp(weight)
    moved = TensorStamp(weight)
    weight.data = torch.ones(3)
    assert moved != TensorStamp(weight)
    with torch.inference_mode():
        assert TensorStamp(torch.ones(1)) != before


@given(st.integers(), st.text(max_size=5))
def test_seeds_fit_torch(number: int, name: str) -> None:
    seed = derive_seed(name, number)
    assert 0 <= seed < 2**63
    torch.Generator().manual_seed(seed)
