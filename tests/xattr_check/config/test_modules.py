"""Modules of the user's: how they are found, and what is told of them."""

import sys
from pathlib import Path

import pytest

from xattr_check import UsageError
from xattr_check.config.modules import add_to_path, render_traceback, resolve


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose modules, and whose place in the path, are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def find(spec: str) -> object:
    return resolve(spec, "--xattr-model", "mymod:make", "MODEL")


def test_a_folder_is_searched_first_or_last_and_once(here: Path) -> None:
    before = list(sys.path)
    add_to_path(here / "last")
    add_to_path(here / "first", first=True)
    add_to_path(here / "last", first=True)
    assert sys.path == [str(here / "first"), *before, str(here / "last")]


def test_a_file_is_imported_once(here: Path) -> None:
    (here / "once.py").write_text("class Outer:\n    inner = object()\n")
    assert find("once.py:Outer.inner") is find(f"{here}/once.py:Outer.inner")


def test_files_of_one_name_in_two_folders_are_two_modules(here: Path) -> None:
    for name in ("a", "b"):
        (here / name).mkdir()
        (here / name / "same.py").write_text(f"text = {name!r}\n")
    assert [find("a/same.py:text"), find("b/same.py:text"), find("a/same.py:text")] == ["a", "b", "a"]


def test_a_file_that_failed_is_tried_again(here: Path) -> None:
    (here / "late.py").write_text("import absent_package\n")
    with pytest.raises(UsageError, match="No module named 'absent_package'"):
        find("late.py:text")
    (here / "late.py").write_text("text = 'there now, and longer'\n")
    assert find("late.py:text") == "there now, and longer"


MISTAKES = {
    "mymod.make": "expected MODULE:MODEL, for example mymod:make",
    "pack.age.make": "expected MODULE:MODEL, for example pack.age:make",
    "file.py": "expected MODULE:MODEL, for example mymod:make",
    ":make": "expected MODULE:MODEL, for example mymod:make",
    "mymod:": "expected MODULE:MODEL, for example mymod:make",
    "absent.deep:make": (
        "no module 'absent' in {here} or among the installed packages; expected MODULE:MODEL, for example "
        "mymod:make"
    ),
    "absent.py:make": "expected a file, absent.py is not there",
    "json:dums": "json has no attribute 'dums'; the nearest are dumps, dump",
}


@pytest.mark.parametrize("spec", MISTAKES)
def test_mistakes_say_what_to_type(here: Path, spec: str) -> None:
    with pytest.raises(UsageError) as told:
        find(spec)
    assert str(told.value) == f"--xattr-model={spec!r}: {MISTAKES[spec].format(here=here)}"
    assert (told.value.option, told.value.value) == ("--xattr-model", spec)


def test_a_usage_error_of_the_users_module_is_told_as_it_is(here: Path) -> None:
    (here / "own.py").write_text("from xattr_check import UsageError\nraise UsageError('set DATA')\n")
    with pytest.raises(UsageError, match=r"^set DATA$"):
        find("own.py:make")


def test_a_module_that_leaves_is_told(here: Path) -> None:
    (here / "leaves.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(UsageError, match=r"importing leaves\.py failed:\n[\s\S]*SystemExit: 3$"):
        find("leaves.py:make")


def test_a_traceback_has_the_users_frames_alone(here: Path) -> None:
    (here / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UsageError) as told:
        find("broken.py:make")
    assert isinstance(told.value.__cause__, ZeroDivisionError)
    assert str(told.value).endswith(render_traceback(told.value.__cause__))
    assert 'broken.py", line 1' in str(told.value)
    assert "xattr_check/config" not in str(told.value)
