"""What a process shares: every change is seen under its name, and put back."""

import os
import sys
import types
from pathlib import Path

import pytest
import torch
from spoiling import IN_PROCESS

from xattr_check.core.process import SETTINGS, ProcessState

# Of CUDA, or of versions of torch with another way to say the same.
ELSEWHERE = (
    *("on CUDA", "on XPU", "on MPS", "fp32_", "reduced_precision", "opt_einsum", "attention"),
    "benchmark_limit",
)


def test_every_change_is_seen_and_put_back() -> None:
    wrong = []
    for name, change in IN_PROCESS.items():
        state = ProcessState()
        before = state.changed()
        try:
            change()
            found = state.changed()
        finally:
            state.restore()
        seen = found.get(name, "").startswith(f"{name}: ")
        if before or not seen or state.changed():
            wrong.append((name, before, found, state.changed()))
    assert wrong == []


def test_every_setting_has_a_change_here() -> None:
    missing = {setting.name for setting in SETTINGS} - IN_PROCESS.keys()
    companions = {"mkldnn.deterministic", *(name for name in missing if name.startswith("torch's global_"))}
    assert {name for name in missing - companions if not any(part in name for part in ELSEWHERE)} == set()


def test_what_is_under_a_name_is_not_told() -> None:
    """A variable of the environment may be a secret."""
    state = ProcessState()
    os.environ["XATTR_TEST"] = "a secret"
    try:
        assert state.changed() == {"environment variables": "environment variables: XATTR_TEST"}
    finally:
        state.restore()


def test_all_changes_at_once_are_put_back() -> None:
    state = ProcessState()
    try:
        for change in IN_PROCESS.values():
            change()
    finally:
        state.restore()
    assert state.changed() == {}
    assert float(torch.relu(torch.tensor(-1.0)) + 1) == 1


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    state = ProcessState()
    os.chdir(tmp_path)
    gone.rmdir()
    assert "working folder" in state.changed()
    state.restore()


def test_functions_of_a_library_that_was_imported_meanwhile_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """It puts them there once, and needs them whenever it is called."""
    library = types.ModuleType("patching_library")
    monkeypatch.setattr(torch.nn.functional, "relu", torch.nn.functional.relu)
    state = ProcessState()
    monkeypatch.setitem(sys.modules, library.__name__, library)
    exec("def relu(inputs): return inputs", vars(library))
    torch.nn.functional.relu = library.relu
    assert state.changed() == {}
