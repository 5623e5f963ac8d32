"""A page is stale if what it reports on has changed since it was made."""

import importlib
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

PAGE = (
    "# Page\n\n<!-- reports on: {paths} -->\n*Made at commit `{commit}`{more} on 2026-11-22 by `maker.py`.*\n"
)
COUNTS = ("checks", "quick checks", "reference methods", "controls")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, path: str, subject: str) -> str:
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(subject)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", subject)
    return git(folder, "rev-parse", "--short", "HEAD")


@pytest.fixture
def repository(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setitem(script.git.__globals__, "ROOT", tmp_path)
    return tmp_path


def examine(script: ModuleType, repository: Path, commit: str, paths: str = "code", more: str = "") -> str:
    page = repository / "page.md"
    page.write_text(PAGE.format(paths=paths, commit=commit, more=more))
    return str(script.examine(page))


def test_pages_are_fresh_until_the_code_changes(script: ModuleType, repository: Path) -> None:
    first = commit(repository, "code/a.py", "a")
    commit(repository, "other/b.py", "b")
    assert examine(script, repository, first) == "page.md: fresh"
    commit(repository, "code/a.py", "a, again")
    commit(repository, "code/c.py", "c")
    told = examine(script, repository, first)
    assert told == "page.md: STALE by 2 commits; maker.py writes it\n    last: c"
    assert examine(script, repository, git(repository, "rev-parse", "HEAD")) == "page.md: fresh"


def test_trouble_is_told(script: ModuleType, repository: Path) -> None:
    first = commit(repository, "code/a.py", "a")
    assert "made from a tree with changes" in examine(script, repository, first, more=" with changes")
    assert "reports on gone, which is not there" in examine(script, repository, first, paths="code gone")
    assert "which this history does not have" in examine(script, repository, "abcdef0")


def test_pages_without_a_stamp_are_left_out(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Page\n")
    assert list(script.examined(tmp_path)) == []


def test_every_page_of_figures_is_looked_at(script: ModuleType) -> None:
    templates = {path.name for path in (script.DOCS / "make" / "templates").glob("*.md")}
    assert templates == {page.name for page in script.examined()}


def test_what_make_docs_would_write_otherwise_is_told(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is so at this commit is asked by `make stale`, and not here."""
    there = (script.DOCS / "reference.md").read_text()
    monkeypatch.setattr("xattr_check.report.reference.document", lambda: there)
    assert "reference.md" not in {page.name for page in script.outdated()}
    monkeypatch.setattr("xattr_check.report.reference.document", lambda: f"{there}\n#### one more\n")
    monkeypatch.setattr(importlib.import_module("counts"), "counts", lambda: dict.fromkeys(COUNTS, 0))
    told = {str(page) for page in script.outdated()}
    assert told >= {
        "reference.md: not what the code says; make docs writes it",
        "README.md: not what the code says; make docs writes it",
    }
