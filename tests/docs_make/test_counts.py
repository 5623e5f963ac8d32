"""Counts in pages are written from the code."""

from types import ModuleType

import pytest


def test_a_count_is_written_between_its_markers(script: ModuleType) -> None:
    text = "The <!-- count: checks -->7<!-- /count --> checks and <!-- count: controls --><!-- /count -->."
    told = "The <!-- count: checks -->9<!-- /count --> checks and <!-- count: controls -->2<!-- /count -->."
    assert script.filled(text, {"checks": 9, "controls": 2}) == told
    with pytest.raises(SystemExit, match="count: cheques: expected one of checks"):
        script.filled("<!-- count: cheques -->1<!-- /count -->", {"checks": 1})


def test_pages_name_counts_that_there_are(script: ModuleType) -> None:
    """Whether they are those of the code is told by `make stale`, and `make docs` writes them."""
    numbers = script.counts()
    assert all(number > 0 for number in numbers.values())
    found = {
        (path.name, name) for path in script.pages() for _, name, _ in script.MARKED.findall(path.read_text())
    }
    assert {name for _, name in found} <= set(numbers)
    assert ("README.md", "quick checks") in found
