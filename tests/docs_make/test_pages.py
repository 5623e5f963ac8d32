"""Pages of measured figures: what their templates and stamps say."""

import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def test_a_page_keeps_the_stamp_it_was_written_with(script: ModuleType, tmp_path: Path) -> None:
    stamps = [script.Stamp("abc1234", "2026-11-22"), script.Stamp("abc1234", "2026-11-22", changed=True)]
    for stamp in stamps:
        page = tmp_path / "variance.md"
        script.write(page, "variance", stamp, table="| a |")
        assert f"*Made at {stamp} by `docs/make/pir.py`.*" in page.read_text()
        assert "\n| a |\n" in page.read_text()
        assert script.Stamp.of(page) == stamp
    assert str(stamps[1]) == "commit `abc1234` with changes on 2026-11-22"
    assert script.Stamp.of(tmp_path / "none.md") is None


def test_a_placeholder_without_a_value_is_an_error(script: ModuleType) -> None:
    with pytest.raises(script.jinja2.UndefinedError, match="'table' is undefined"):
        script.render("variance", script.Stamp("abc1234", "2026-11-22"))


def test_every_template_has_a_page_with_its_prose(script: ModuleType) -> None:
    """What was changed in a page by hand would be lost when it is written again."""
    wrong = []
    for template in sorted(script.TEMPLATES.glob("*.md")):
        page = (script.DOCS / template.name).read_text()
        prose = re.split(r"\{\{.*?\}\}|\{%.*?%\}", template.read_text())
        pattern = ".*?".join(re.escape(part.strip()) for part in prose)
        if not re.fullmatch(f"{pattern}.*", page, re.S):
            wrong.append(template.name)
    assert wrong == []


def test_every_stamp_names_what_is_there(script: ModuleType) -> None:
    wrong = []
    for template in script.TEMPLATES.glob("*.md"):
        made = script.MADE.search((script.DOCS / template.name).read_text())
        named = [made[4], *script.reported(template.read_text())] if made else ["no stamp"]
        wrong += [f"{template.name}: {path}" for path in named if not (ROOT / path).exists()]
    assert wrong == []
