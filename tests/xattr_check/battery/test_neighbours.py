"""Whatever a method leaves behind, the next one is judged as if it had never been there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import judge
from spoiling import IN_PROCESS, ON_MODEL, equip
from subjects import images, sharp
from torch import Tensor, nn

from xattr_check import Store, Subject, load_method
from xattr_check.core.run import Run
from xattr_methods import gradient

CHECKS = ("sensitivity_n", "shape")
WAYS: dict[str, Callable[[nn.Module], object]] = {
    **{change.__name__: change for changes in ON_MODEL.values() for change in changes},
    **{name: lambda model, change=change: change() for name, change in IN_PROCESS.items()},
}
# One of each kind; the others are slow.
FAST = {
    *(
        "nan_weight",
        "replace_module",
        "freeze",
        "own_forward",
        "tensor_hook",
        "forward_of_torch",
        "change_eps",
    ),
    *("replace_class", "change_table", "inference mode", "default dtype", "torch's global_forward_hooks"),
    *("torch.nn.functional.relu", "torch's function modes", "environment variables"),
}
SOME = [pytest.param(way, marks=[] if way in FAST else [pytest.mark.slow]) for way in WAYS]
# What nothing puts back, since nothing sees it.
factor = [1.0]


class Scaled(nn.Module):
    """A network whose outputs depend on a global variable."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = factor[0] * self.network(inputs)
        return logits


def subject(wrap: Callable[[nn.Module], nn.Module] = nn.Identity) -> Subject:
    found = sharp(images())
    equip(found.model)
    model = found.model if wrap is nn.Identity else wrap(found.model)
    return Subject(found.name, model, found.inputs, found.targets)


def records(method: Any, on: Subject, run: Run) -> list[Any]:
    """All that a verdict says, but for how long it took."""
    verdicts = [judge(check, method, on, run) for check in CHECKS]
    return [
        (v.status, str(v), v.n, v.controls, {seed: drawn.rows.tolist() for seed, drawn in v.draws.items()})
        for v in verdicts
    ]


def leaving(change: Callable[[nn.Module], object], *, by: str) -> Callable[..., Tensor]:
    """A method that is right, and leaves a change behind: by returning, raising or taking too long."""

    def method(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = gradient(model, inputs, targets)
        change(model)
        if by == "raising":
            raise RuntimeError("no map")
        while by == "hanging":
            pass
        return maps

    return method


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The records of a method that was alone."""
    return records(gradient, subject(), Run(store=Store(tmp_path_factory.mktemp("alone"))))


@pytest.mark.parametrize("way", SOME)
def test_the_next_method_is_judged_as_if_it_were_alone(way: str, alone: list[Any], tmp_path: Path) -> None:
    """In the same run, and in the next one with the same store."""
    on, run = subject(), Run(store=Store(tmp_path))
    before = dict(os.environ), on.fingerprint
    records(leaving(WAYS[way], by="returning"), on, run)
    assert records(gradient, on, run) == alone
    assert (dict(os.environ), on.fingerprint) == before
    assert records(gradient, subject(), Run(store=Store(tmp_path))) == alone


@pytest.mark.parametrize("by", ["raising", "hanging"])
@pytest.mark.parametrize("way", ["change_eps", "grad mode"])
def test_a_method_that_does_not_return_is_undone_as_well(
    way: str, by: str, alone: list[Any], tmp_path: Path
) -> None:
    on, run = subject(), Run(store=Store(tmp_path), timeout=0.2)
    records(leaving(WAYS[way], by=by), on, run)
    run.timeout = 300.0
    assert records(gradient, on, run) == alone


def test_a_method_that_raises_is_asked_about_single_inputs_on_the_model_as_it_was(tmp_path: Path) -> None:
    def breaking(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = gradient(model, inputs, targets)
        if len(inputs) > 1:
            model.classifier = None  # type: ignore[assignment]
            raise RuntimeError("one at a time")
        return maps

    found = judge("shape", breaking, subject(), Run(store=Store(tmp_path)))
    assert str(found).endswith("but on none of them alone")


def scale(model: nn.Module) -> None:
    factor[0] = 3.0


@pytest.fixture
def _unscaled() -> Iterator[None]:
    yield
    factor[0] = 1.0


@pytest.mark.usefixtures("_unscaled")
def test_what_cannot_be_put_back_is_told_and_stays_out_of_the_store(tmp_path: Path) -> None:
    wrapped = partial(subject, Scaled)
    expected = records(gradient, wrapped(), Run(store=Store(tmp_path / "alone")))
    run, on = Run(store=Store(tmp_path / "store")), wrapped()
    records(leaving(scale, by="returning"), on, run)
    found = judge("sensitivity_n", gradient, on, run)
    assert found.status == "invalid"
    assert "an earlier method left something behind that could not be put back" in found.sentence
    factor[0] = 1.0
    assert records(gradient, wrapped(), Run(store=Store(tmp_path / "store"))) == expected


def test_another_process_reads_nothing_that_is_spoiled(alone: list[Any], tmp_path: Path) -> None:
    run = Run(store=Store(tmp_path))
    for way in ("change_eps", "torch.relu", "own_forward", "default dtype"):
        records(leaving(WAYS[way], by="returning"), subject(), run)
    code = (
        "import json, sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path; from importlib import import_module\n"
        "here = import_module('test_neighbours')\n"
        "found = here.records(here.gradient, here.subject(), here.Run(store=here.Store(Path(sys.argv[1]))))\n"
        "print(json.dumps(found))"
    )
    tests = Path(__file__).parents[2]
    path = os.pathsep.join([str(Path(__file__).parent), str(tests)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(alone))


def test_a_model_that_its_owner_changes_has_another_fingerprint(tmp_path: Path) -> None:
    on, run = subject(), Run(store=Store(tmp_path))
    before = on.fingerprint, records(gradient, on, run)
    on.model.norm1.eps = 3.0  # type: ignore[assignment, union-attr]
    changed = on.fingerprint, records(gradient, on, run)
    assert changed[0] != before[0]
    assert changed[1] != before[1]
    assert changed[1] == records(gradient, on, Run(store=Store(tmp_path / "fresh")))


class Counting(nn.Module):
    """A network that counts its calls and keeps its last outputs, as many do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls, self.last = network, 0, torch.zeros(())

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        self.last = self.network(inputs)
        return self.last


def test_what_a_model_changes_itself_makes_no_other_model_of_it(tmp_path: Path) -> None:
    on, run = subject(Counting), Run(store=Store(tmp_path))
    before = on.fingerprint
    calls: list[int] = []

    def counted(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(inputs))
        return gradient(model, inputs, targets)

    method = load_method(counted)
    for check in ("preserves_attributes", "preserves_weights"):
        assert judge(check, method, on, run).status == "pass"
    judge("sensitivity_n", method, on, run)
    made = len(calls)
    judge("sensitivity_n", method, on, run)
    assert len(calls) == made
    on.model(on.inputs)
    assert on.fingerprint == before
