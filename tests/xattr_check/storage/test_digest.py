import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from xattr_check.storage.digest import derive_seed, digest, digest_model, digest_rows


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


@given(st.integers(), st.text(max_size=5))
def test_seeds_fit_torch(number: int, name: str) -> None:
    seed = derive_seed(name, number)
    assert 0 <= seed < 2**63
    torch.Generator().manual_seed(seed)
