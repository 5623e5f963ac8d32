"""docs/verdicts.md is written from docs/verdicts.json."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from xattr_check import Verdict
from xattr_check.statistics.intervals import Interval


def seeds(*statuses: str, value: float = 0.5) -> list[dict[str, Any]]:
    return [{"status": status, "value": value, "low": 0.4, "high": 0.6} for status in statuses]


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["pass", "pass", "pass"], "0.50 ✓"),
        (["pass", "undecided", "pass"], "0.50 ✓ ? ✓"),
        (["fail", "fail"], "0.50 **✗**"),
        (["not claimed", "pass"], "0.50 (✗) ✓"),
        (["not_applicable"], "0.50 –"),
    ],
)
def test_a_cell_has_the_first_seed_and_what_all_say(
    script: ModuleType, statuses: list[str], said: str
) -> None:
    assert script.cell(seeds(*statuses)) == said
    assert script.cell([{"status": "not_applicable"}]) == "–"


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("≤ 0.25", "3 **✗**, 2 ✓"),
        ("2 % of the way above every control", "constant 0.90; 3 **✗**, 2 ✓"),
        ("2 % of the way below every control", "random 0.10; 3 **✗**, 2 ✓"),
    ],
)
def test_the_strongest_control_is_told_where_they_are_rivals(
    script: ModuleType, gate: str, said: str
) -> None:
    numbers = dict(zip(script.NEGATIVE, (0.1, 0.3, 0.5, 0.7, 0.9), strict=True))
    methods = {name: seeds("fail" if value < 0.6 else "pass", value=value) for name, value in numbers.items()}
    assert script.controls({"gate": gate, "methods": methods}) == said


def test_a_verdict_becomes_a_figure(script: ModuleType) -> None:
    interval = Interval(0.123456, 0.1, 0.2)
    verdict = Verdict("m", "s", "c", "f", "fail", "it does not hold", "≤ 0.05", interval=interval)
    assert script.figure(verdict) == {"status": "fail", "value": 0.1235, "low": 0.1, "high": 0.2}
    optional = Verdict("m", "s", "c", "f", "fail", "it does not hold", "≤ 0.05", required=False)
    assert script.figure(optional) == {"status": "not claimed"}


def test_the_figures_are_written_as_they_are_read(script: ModuleType) -> None:
    text = script.FIGURES.read_text()
    assert script.dump(json.loads(text)) == text


def test_the_page_has_all_figures_and_names_what_has_none(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether docs/verdicts.md is that page is told by `make stale`."""
    figures = json.loads(script.FIGURES.read_text())
    monkeypatch.setattr(script, "listed", lambda: {"made_up": None, **dict.fromkeys(figures)})
    script.main(["--write", str(tmp_path / "verdicts.md")])
    page = (tmp_path / "verdicts.md").read_text()
    assert "\nNot measured yet: made_up.\n" in page
    titles = {name.replace("_", " ") for name, one in figures.items() if one["family"] != script.CONTRACT}
    assert titles <= {part.strip() for line in page.splitlines() for part in line.split("|")}
    ragged = [block for block in page.split("\n\n") if block.startswith("| ") and widths(block) != 1]
    assert ragged == []


def test_those_that_rank_by_a_variance_stand_beside_the_others(script: ModuleType) -> None:
    """Whichever are measured again, the others stay, with the stamp of their own."""
    told = {"family": "localisation", "gate": "≤ 0.25", "claimed": False}
    name = script.VARIANCE[0]
    first, later = (
        {"commit": commit, "date": date, "changed": False}
        for commit, date in (("aaa", "2026-11-01"), ("bbb", "2026-12-01"))
    )
    every = {method: seeds("pass") for method in script.ALL}
    old = {"iou": {**told, **later, "methods": every}, "road": {**told, **later, "methods": every}}
    new = {"iou": {**told, **first, "methods": {name: seeds("fail", value=0.1)}}}
    found = script.merged(old, new, True)
    assert found["road"] == old["road"]
    assert script.merged(found, {"iou": old["iou"]}, False) == found
    assert script.oldest(found) == script.Stamp("aaa", "2026-11-01", False)
    rows = script.table(found, "localisation").splitlines()
    assert f"| {name} | 0.10 **✗** |  |" in rows
    assert [row for row in rows if row.startswith(f"| {script.VARIANCE[1]} ")] == []


def test_a_check_without_figures_may_have_those_that_rank_by_a_variance_first(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says that the others are not measured yet, whatever the gate."""
    stamp = {"commit": "bbb", "date": "2026-12-01", "changed": False}
    told = {"family": "localisation", "claimed": False, **stamp}
    name = script.VARIANCE[0]
    figures = json.loads(script.FIGURES.read_text())
    for check, gate in (("iou", "≤ 0.25"), ("pointing_game", "2 % of the way above every control")):
        del figures[check]
        new = {check: {**told, "gate": gate, "methods": {name: seeds("fail", value=0.1)}}}
        figures = script.merged(figures, new, True)
    rows = script.table(figures, "localisation").splitlines()
    (row,) = (row for row in rows if row.startswith(f"| {name} "))
    assert row.count("0.10 **✗**") == 2
    monkeypatch.setattr(script, "listed", lambda: dict.fromkeys(figures))
    file = tmp_path / "verdicts.json"
    file.write_text(script.dump(figures))
    script.main(["--figures", str(file), "--write", str(tmp_path / "verdicts.md")])
    page = (tmp_path / "verdicts.md").read_text()
    assert "\nNot measured yet: iou, pointing_game.\n" in page
    every = {method: seeds("pass") for method in script.ALL}
    found = script.merged(figures, {"iou": {**told, "gate": "≤ 0.25", "methods": every}}, False)
    assert found["iou"]["methods"] == every
    assert list(found["iou"][script.BESIDE]["methods"]) == [name]


def widths(table: str) -> int:
    """In how many ways the rows of a table are wide."""
    return len({line.count("|") for line in table.splitlines()})


def test_the_page_is_as_old_as_its_oldest_figure(script: ModuleType) -> None:
    new = {"commit": "bbb", "date": "2026-12-01", "changed": False}
    old = {"commit": "aaa", "date": "2026-11-01", "changed": True}
    assert script.oldest({"iou": new, "road": old}) == script.Stamp("aaa", "2026-11-01", True)
