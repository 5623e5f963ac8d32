"""Cost: told, and gated only on request."""

from pathlib import Path

import pytest
import torch
from judging import judge
from subjects import images
from torch import Tensor, nn

import xattr_check
from xattr_check import AtMost
from xattr_check.config.xattr_yaml import read
from xattr_check.core.run import Run
from xattr_check.core.timeout import uncounted
from xattr_check.errors import UsageError
from xattr_check.report.table import table

COST = xattr_check.checks()["cost"]


@pytest.mark.parametrize(
    ("method", "forwards"),
    [
        ("gradient", 1),
        ("integrated_gradients?steps=20", 20),
        ("occlusion?window=6&stride=6", 5),
        ("random", 0),
    ],
)
def test_forward_passes_for_each_input(method: str, forwards: int, run: Run) -> None:
    verdict = judge("cost", f"xattr:{method}", images(), run)
    assert (verdict.status, verdict.gate) == ("pass", "none")
    assert verdict.interval is not None
    assert verdict.interval.value == forwards


def test_all_of_it_is_told(run: Run) -> None:
    verdict = judge("cost", "xattr:gradient", images(), run)
    assert str(verdict).startswith("cost: for each explained input 1 forward and 1 backward passes, ")
    told = " ".join(table([verdict]).split())
    assert "cost pass 1 gate none for each explained input 1 forward and 1 backward passes, " in told
    assert told.endswith("MiB 1 pass")


@pytest.mark.parametrize(("most", "status"), [(19.0, "fail"), (20.0, "pass")])
def test_a_gate_decides_on_request(most: float, status: str, run: Run) -> None:
    verdict = judge("cost", "xattr:integrated_gradients?steps=20", images(), run, gate=AtMost(most))
    assert (verdict.status, verdict.required) == (status, True)


@pytest.mark.parametrize("bound", ["200", "200 forwards", "200.0 forwards"])
def test_a_bound_may_be_given_with_its_unit(bound: str, tmp_path: Path) -> None:
    file = tmp_path / "xattr.yaml"
    file.write_text(f"gates:\n  cost: {{at_most: {bound}}}\n")
    assert read(file).gates == {"cost": AtMost(200.0)}


@pytest.mark.parametrize("entry", ["cost: {at_most: 200 seconds}", "insertion: {at_least: 0.5 forwards}"])
def test_another_unit_is_a_mistake(entry: str, tmp_path: Path) -> None:
    file = tmp_path / "xattr.yaml"
    file.write_text(f"gates:\n  {entry}\n")
    with pytest.raises(UsageError, match=r":2: gates: expected \w+: \{at_most"):
        read(file)


def test_memory_is_that_of_the_call(run: Run) -> None:
    def wasteful(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        torch.ones(8 * len(inputs) * 2**20 // 4)
        return torch.zeros_like(inputs)

    sentence = str(judge("cost", wasteful, images(), run))
    assert 8 <= float(sentence.split(" MiB")[0].split()[-1]) < 8.1


def test_who_raises_is_in_error(run: Run) -> None:
    def never(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        raise ValueError("never")

    assert judge("cost", never, images(), run).status == "error"


def test_what_is_learned_for_all_who_ask_takes_no_memory(run: Run) -> None:
    """Nor does a pass that it needs count."""
    learned: list[Tensor] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        if not learned:
            with uncounted():
                learned.append(model(inputs).new_zeros(2**20, 4).sum(0))
        return inputs

    verdict = judge("cost", explain, images(), run)
    assert learned
    assert "input 0 forward and 0 backward passes, " in str(verdict)
    assert float(str(verdict).rpartition(" and ")[2].removesuffix(" MiB")) < 1
