"""Of files that are edited in a living process: the new text runs, and what did not change stays."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from xattr_check import UsageError, load_method, load_subject, run_battery
from xattr_check.config import edited
from xattr_check.config.modules import resolve
from xattr_check.storage.digest import digest

METHOD = """
import torch
from helper import scale

class Kept:
    pass

def explain(model, inputs, targets):
    return scale * torch.ones_like(inputs)
"""
SUBJECT = """
import torch
from xattr_check import Subject

def make():
    return Subject("made", torch.nn.Linear({width}, 2), torch.zeros(8, {width}), torch.zeros(8).long())
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a method and its helper; what is imported is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(edited, "_awaited", {})
    monkeypatch.setattr(edited, "_came_along", {})
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "helper.py").write_text("scale = 1.0\n")
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def edit(file: Path, text: str) -> None:
    """Write a text of the same length within the same second, where it is: no cache of Python's notices."""
    before = file.stat() if file.exists() else None
    file.write_text(text)
    if before is not None:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def find(spec: str) -> Any:
    return resolve(spec, "--xattr-method", "mymod:explain")


def value(spec: str) -> float:
    """What the method of a spec gives to each feature."""
    maps = find(spec)(torch.nn.Identity(), torch.zeros(1, 2), torch.zeros(1))
    return float(maps[0, 0])


SPECS = ["mine:explain", "mine.py:explain"]


@pytest.mark.parametrize("spec", SPECS)
def test_what_did_not_change_is_kept(here: Path, spec: str) -> None:
    assert find(spec) is find(spec)
    kept = find(spec.replace("explain", "Kept"))
    edit(here / "unrelated.py", "")
    assert find(spec.replace("explain", "Kept")) is kept


@pytest.mark.parametrize("spec", SPECS)
def test_an_edited_file_runs_as_it_is_now(here: Path, spec: str) -> None:
    assert value(spec) == 1
    helper = find("helper:__dict__")
    edit(here / "mine.py", METHOD.replace("return scale", "return -scale"))
    assert value(spec) == -1
    assert find("helper:__dict__") is helper
    edit(here / "mine.py", METHOD)
    assert value(spec) == 1


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "imports",
    [
        "from helper import scale",
        "from helper import *",
        "import helper\nscale = helper.scale",
        "from importlib import import_module\nscale = import_module('helper').scale",
        "import middle\nscale = middle.scale",
        "from pack import scale",
        "from pack.part import scale",
        "import pack.part\nscale = pack.part.scale",
        "from pack.relative import scale",
    ],
)
def test_an_edited_helper_counts(here: Path, spec: str, imports: str) -> None:
    (here / "mine.py").write_text(METHOD.replace("from helper import scale", imports))
    (here / "middle.py").write_text("from helper import scale\n")
    (here / "pack").mkdir()
    (here / "pack" / "__init__.py").write_text("from pack.part import scale\n")
    (here / "pack" / "part.py").write_text("from helper import scale\n")
    (here / "pack" / "relative.py").write_text("from . import part\nscale = part.scale\n")
    (here / "pack" / "other.py").write_text("class Other: ...\n")
    other = find("pack.other:Other")
    assert value(spec) == 1
    edit(here / "helper.py", "scale = 2.0\n")
    assert value(spec) == 2
    assert find("pack.other:Other") is other
    assert sys.modules["pack"].other is sys.modules["pack.other"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("spec", SPECS)
def test_a_helper_that_is_imported_when_it_is_called_counts(here: Path, spec: str) -> None:
    late = METHOD.replace("from helper import scale", "").replace(
        "return", "from helper import scale; return"
    )
    (here / "mine.py").write_text(late)
    for number in (1, 2, 3):
        edit(here / "helper.py", f"scale = {number}.0\n")
        assert value(spec) == number


def test_what_a_test_module_holds_stays_as_it_was(here: Path) -> None:
    """Another module that imported the old one keeps it: it is not imported again."""
    (here / "test_mine.py").write_text("import mine\nfrom mine import explain\n")
    old = find("test_mine:explain")
    edit(here / "mine.py", METHOD.replace("return scale", "return -scale"))
    test_module = sys.modules["test_mine"]
    assert value("mine:explain") == -1
    assert sys.modules["test_mine"] is test_module
    assert test_module.explain is old  # type: ignore[attr-defined]
    assert float(old(None, torch.zeros(1), None)) == 1


def test_a_module_that_others_imported_is_kept_until_it_changes(here: Path) -> None:
    import mine  # type: ignore[import-not-found]

    assert find("mine:Kept") is mine.Kept
    edit(here / "mine.py", METHOD.replace("return scale", "return -scale"))
    assert value("mine:explain") == -1
    assert find("mine:Kept") is not mine.Kept


def test_installed_packages_are_left_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = here / "lib" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "installed.py").write_text("text = 'old'\n")
    monkeypatch.syspath_prepend(str(folder))
    assert find("installed:text") == "old"
    (folder / "installed.py").write_text("text = 'another'\n")
    assert find("installed:text") == "old"
    assert find("xattr_methods:gradient") is find("xattr_methods:gradient")


def test_files_of_two_folders_have_their_own_helpers(tmp_path: Path, here: Path) -> None:
    for name, scale in (("a", 3.0), ("b", 4.0)):
        (here / name).mkdir()
        (here / name / "mine.py").write_text(METHOD.replace("helper", "neighbour"))
        (here / name / "neighbour.py").write_text(f"scale = {scale}\n")
    found = {name: find(f"{name}/mine.py:Kept") for name in "ab"}
    assert [value(f"{name}/mine.py:explain") for name in "aba"] == [3, 4, 3]
    assert found["a"] is not found["b"]


def test_a_mistake_in_an_edit_is_told_until_it_is_mended(here: Path) -> None:
    assert value("mine:explain") == 1
    edit(here / "helper.py", "scale = = 1\n")
    for _ in range(2):
        with pytest.raises(UsageError, match="SyntaxError"):
            find("mine:explain")
    edit(here / "helper.py", "scale = 5.0\n")
    assert value("mine:explain") == 5


def test_a_subject_is_made_by_the_text_of_now(here: Path) -> None:
    for width in (3, 4):
        edit(here / "own.py", SUBJECT.format(width=width))
        for spec in ("own:make", "own.py:make"):
            assert load_subject(spec).inputs.shape == (8, width)


CALLABLES = "class Explain:\n    def __call__(self, model, inputs, targets):\n        return scale * inputs\n"


@pytest.mark.parametrize("name", ["mine:explain", "mine.py:explain", "mine.py:Explain", "mine:explain?a=1"])
def test_the_record_names_the_text_that_ran(here: Path, name: str) -> None:
    old = METHOD.replace("targets)", "targets, a=0)") + CALLABLES
    (here / "mine.py").write_text(old)
    method = load_method(name)
    edit(here / "mine.py", old.replace("return scale", "return -scale"))
    assert method.source == digest(old)
    assert load_method(name).source == digest((here / "mine.py").read_text())
    assert method.source == digest(old)


def test_a_second_battery_judges_the_new_text(here: Path) -> None:
    (here / "own.py").write_text(SUBJECT.format(width=3))
    for text, status in ((METHOD, "pass"), (METHOD.replace("scale *", "[] and"), "error")):
        (here / "mine.py").write_text(text)
        results = run_battery("mine:explain", "own:make", checks="shape", storage=here / "store")
        assert results[0].status == status
        assert results.run["sources"] == {"mine:explain": digest(text)}
