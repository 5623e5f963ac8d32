"""What a measurement's digest follows from, and what it does not."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from xattr_check import checks
from xattr_check.sources import ENGINE, _imported, source_digest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose `measure` imports `_part`, which imports `deep.more`; `other` stands alone."""
    folder = tmp_path / "made_up"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "more.py").write_text("from xattr_check.gate import AtMost\nC = AtMost\n")
    (folder / "_part.py").write_text("from .deep import more\nB = more.C\n")
    (folder / "check.py").write_text("from made_up._part import B\ndef measure():\n    return B\n")
    (folder / "other.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("made_up")]:
        del sys.modules[name]


def measure(folder: Path) -> Any:
    source_digest.cache_clear()
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
            waiting += _imported(file, file.read_text())
    return {"/".join(file.parts[-2:]) for file in found}


def test_a_check_depends_on_what_measures_and_not_on_what_tells() -> None:
    found = reached("deletion")
    assert {"xattr_axioms/deletion.py", "xattr_check/curves.py", "xattr_check/perturb.py"} <= found
    assert {"xattr_check/store.py", "xattr_check/method.py", "xattr_check/subject.py"} <= found
    told = {
        "report",
        "report_rows",
        "charts",
        "markdown",
        "cli",
        "history",
        "compare",
        "table",
        "standing",
        "pictures",
    }
    assert not {f"xattr_check/{name}.py" for name in told} & found
    assert not {one for one in found if one.startswith("xattr_axioms/")} - {"xattr_axioms/deletion.py"}


@pytest.mark.parametrize("name", sorted(checks()))
def test_every_check_reaches_the_engine(name: str) -> None:
    found = reached(name)
    assert {"xattr_check/axiom.py", "xattr_check/explainer.py", "xattr_check/run.py"} <= found


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
