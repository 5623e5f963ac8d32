"""docs/every_layout.md is written from docs/every_layout.json."""

from types import ModuleType
from typing import Any

import pytest
from subjects import columns

from xattr_check import Verdict


def entry(**statuses: str) -> dict[str, Any]:
    checks = {
        check: {"status": status, "required": True, "sentence": f"{check} said"}
        for check, status in statuses.items()
    }
    return {"commit": "abc", "date": "2026-11-29", "changed": False, "seconds": 1.0, "checks": checks}


FIGURES = {
    "beats 0 occlusion": entry(deletion="pass", iou="fail"),
    "beats 0 negated": entry(iou="pass", deletion="fail", sensitivity_n="fail"),
    "beats 1 negated": entry(iou="fail", deletion="fail", sensitivity_n="undecided"),
    "columns 0 negated": entry(deletion="undecided", deterministic="pass"),
    "columns 0 moved": entry(sensitivity_n="fail"),
}


def test_a_cell_is_the_check_that_fails_on_every_seed(script: ModuleType) -> None:
    assert script.broken_table(FIGURES).splitlines() == [
        "| defect | columns | beats |",
        "| --- | --- | --- |",
        "| negated | **none** | deletion |",
        "| moved | sensitivity_n | – |",
    ]


def test_what_is_wrong_has_a_line(script: ModuleType) -> None:
    assert script.unnoticed(FIGURES) == "- `columns`, `negated` (seed 0)"
    assert script.wrongly_failed(FIGURES) == "- `beats`, iou, `occlusion` (seed 0): iou said"
    assert script.blind(FIGURES) == "- **iou**: `negated` on beats"
    assert script.flips(FIGURES, script.names_in(FIGURES)) == "- `beats`, iou, `negated`"


def test_the_second_checks_are_asked_where_the_first_do_not_fail(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def judged(method: str, subject: object, checks: str) -> list[Verdict]:
        asked.append(checks)
        return []

    monkeypatch.setattr(script, "run_battery", judged)
    assert list(script.judge("xattr:edges", columns(), ["first", "second"])) == []
    assert asked == ["first", "second"]
