"""Links work in the repository and on the site."""

import re
from types import ModuleType

import pytest

pytest.importorskip("mkdocs")


CASES = """
README.md: [ci](docs/ci.md) [rules](docs/history.md#rules) -> [ci](ci.md) [rules](history.md#rules)
README.md: [all](CONTRIBUTING.md) [one](examples/xattr_example) -> [all](contributing.md) [one](example.md)
docs/pytest.md: [it](../README.md#from-python) [ci](ci.md) -> [it](index.md#from-python) [ci](ci.md)
docs/pytest.md: [the source](../conftest.py) and [below](#xdist) -> the source and [below](#xdist)
docs/pytest.md: [a paper](https://example.org/a.md) -> [a paper](https://example.org/a.md)
"""


@pytest.mark.parametrize("case", CASES.strip().splitlines())
def test_links_go_where_the_page_is(script: ModuleType, case: str) -> None:
    source, _, rest = case.partition(": ")
    text, _, said = rest.partition(" -> ")
    assert script.relinked(text, source) == said


def test_sheets_of_maps_become_pictures(script: ModuleType) -> None:
    class Page:
        class file:
            src_uri = "bits.md"

    text = script.on_page_markdown("a\n\n<!-- maps: digit -->\n\nb\n", Page)
    assert text == "a\n\n![Maps of a digit, method by method](maps/digit.png)\n\nb\n"
    text = script.on_page_markdown("<!-- maps: units, Units of a network -->\n", Page)
    assert text == "![Units of a network](maps/units.png)\n"
    assert "digit" in script.sheets()


def test_code_is_left_as_it_is(script: ModuleType) -> None:
    code = "```md\n[it](../README.md)\n```\n"
    assert script.relinked(code, "docs/pytest.md") == code


def test_links_of_the_repository_lead_somewhere(script: ModuleType) -> None:
    pages = [*script.PAGES, *(f"docs/{path.name}" for path in (script.ROOT / "docs").glob("*.md"))]
    wrong = []
    for page in pages:
        text = "".join(
            part for part in script.CODE.split((script.ROOT / page).read_text()) if part[:3] != "```"
        )
        for _, path, _ in script.LINK.findall(re.sub(r"`[^`]*`", "", text)):
            if not ((script.ROOT / page).parent / path).exists():
                wrong.append(f"{page}: {path}")
    assert wrong == []


def test_every_source_is_on_the_page_of_sources(script: ModuleType) -> None:
    keys = re.findall(r"^@\w+\{(\w+),", (script.ROOT / "docs" / "references.bib").read_text(), re.M)
    assert len(keys) > 50
    assert re.findall(r'^- <a id="(\w+)"></a>\[\1\] \S', script.sources(), re.M) == keys
    assert script.KEY.sub(script.cited, "as in [bach2015]") == "as in [[bach2015]](sources.md#bach2015)"
    assert script.KEY.sub(script.cited, "[bach2015](it.md)") == "[bach2015](it.md)"
