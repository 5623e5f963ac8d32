"""Counts in pages are those of the code."""

from types import ModuleType

import pytest


def test_a_count_is_written_between_its_markers(script: ModuleType) -> None:
    text = "The <!-- count: checks -->7<!-- /count --> checks and <!-- count: controls --><!-- /count -->."
    told = "The <!-- count: checks -->9<!-- /count --> checks and <!-- count: controls -->2<!-- /count -->."
    assert script.filled(text, {"checks": 9, "controls": 2}) == told
    with pytest.raises(SystemExit, match="count: cheques: expected one of checks"):
        script.filled("<!-- count: cheques -->1<!-- /count -->", {"checks": 1})


def test_pages_have_the_counts_of_the_code(script: ModuleType) -> None:
    numbers = script.counts()
    old = [
        path.name for path in script.pages() if script.filled(path.read_text(), numbers) != path.read_text()
    ]
    assert old == [], "run: make docs"
    assert "<!-- count: quick checks -->" in (script.ROOT / "README.md").read_text()
