"""What a measurement's digest follows from, and what it does not."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from xattr_check import checks
from xattr_check.storage import sources
from xattr_check.storage.sources import ENGINE, read, source_digest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose `measure` imports `_part`, which imports `deep.more`; `other` stands alone."""
    folder = tmp_path / "made_up"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "more.py").write_text("from xattr_check.statistics.gate import AtMost\nC = AtMost\n")
    (folder / "_part.py").write_text("from .deep import more\nB = more.C\n")
    (folder / "check.py").write_text("from made_up._part import B\ndef measure():\n    return B\n")
    (folder / "other.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("made_up")]:
        del sys.modules[name]


def measure(folder: Path) -> Any:
    """The digest in a process of its own."""
    sources._followed.cache_clear()
    spec = importlib.util.spec_from_file_location("made_up.check", folder / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return source_digest(module.measure)


@pytest.mark.parametrize("part", ["check.py", "_part.py", "deep/more.py"])
def test_what_is_imported_counts(part: str, package: Path) -> None:
    before = measure(package)
    assert measure(package) == before
    (package / part).write_text((package / part).read_text() + "\n# changed\n")
    assert measure(package) != before


def test_what_is_not_imported_does_not(package: Path) -> None:
    before = measure(package)
    (package / "other.py").write_text("X = 2\n")
    assert measure(package) == before


def reached(name: str) -> set[str]:
    found: set[Path] = set()
    waiting = [Path(sys.modules[checks()[name].measure.__module__].__file__ or "")]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += read(file)[2]
    return {read(file)[0] for file in found}


def test_a_check_depends_on_what_measures_and_not_on_what_tells() -> None:
    found = reached("deletion")
    own = "xattr_axioms/faithfulness/deletion.py"
    engine = {"perturbation/curves", "perturbation/outputs", "storage/store", "core/method", "core/subject"}
    assert {own, *(f"xattr_check/{name}.py" for name in engine)} <= found
    telling = ("report", "cli", "history", "battery", "config", "generation", "networks", "wording", "api")
    assert [one for one in found if one.startswith(tuple(f"xattr_check/{room}" for room in telling))] == []
    helper = "xattr_axioms/faithfulness/_areas.py"
    assert not {one for one in found if one.startswith("xattr_axioms/")} - {own, helper}


def test_every_check_reaches_the_engine() -> None:
    engine = {f"xattr_check/core/{name}.py" for name in ("checks", "explainer", "run")}
    assert [name for name in checks() if not engine <= reached(name)] == []


def test_a_name_of_the_public_face_counts_for_where_it_comes_from(package: Path) -> None:
    """The face imports what it is asked for, so its own imports say nothing."""
    (package / "check.py").write_text("from xattr_check import AtMost\ndef measure():\n    return AtMost\n")
    assert [read(file)[0] for file in read(package / "check.py")[2]] == ["xattr_check/statistics/gate.py"]


def test_a_file_that_changes_is_read_again(package: Path) -> None:
    before = read(package / "other.py")
    (package / "other.py").write_text("X = 10\n")
    assert read(package / "other.py") != before


def test_no_module_that_measures_imports_another_inside_a_function() -> None:
    """Else a change of it would not change the digest."""
    import ast

    measuring = set().union(*(reached(name) for name in checks()))
    files = [ENGINE.parent / name for name in measuring if name.startswith("xattr_check/")]
    for file in files:
        inner = [
            node
            for function in ast.walk(ast.parse(file.read_text()))
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xattr_check")
        ]
        assert not inner, file
