"""Libraries that warn while they are imported, where the user has turned warnings into errors."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from xattr_check import UsageError, load_method
from xattr_check.core.adapter import import_library
from xattr_check.imports import imported, neutral_warnings

LOUD = """
import warnings
for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, UserWarning, ImportWarning):
    warnings.warn("old", kind, stacklevel=1)
explain = print
"""


@pytest.fixture
def loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a library that warns of everything, while warnings are errors."""
    (tmp_path / "loud_library.py").write_text(LOUD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield "loud_library"
    sys.modules.pop("loud_library", None)
    imported.cache_clear()


def test_an_adapted_library_may_warn(loud: str) -> None:
    assert import_library(loud, loud).explain is print


def test_what_is_imported_late_may_warn(loud: str) -> None:
    assert imported(loud, "explain") is print
    assert imported(loud, "explain") is print


def test_a_file_of_the_users_is_not_spared(loud: str) -> None:
    with pytest.raises(UsageError, match="DeprecationWarning: old"):
        load_method(f"{loud}:explain")


def test_filters_are_put_back(loud: str) -> None:
    before = list(warnings.filters)
    with neutral_warnings():
        warnings.warn("told to authors", DeprecationWarning, stacklevel=1)
    assert list(warnings.filters) == before
    with pytest.raises(DeprecationWarning):
        warnings.warn("told to all", DeprecationWarning, stacklevel=1)


def test_what_people_should_know_is_still_told(loud: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        import_library(loud, loud)
    assert {one.category for one in told} == {FutureWarning, UserWarning}
