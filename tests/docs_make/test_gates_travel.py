"""docs/gates_travel.md is written from docs/gates_travel.json."""

import json
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
from subjects import columns

import xattr_check


def entry(**statuses: str) -> dict[str, Any]:
    checks = {
        check: {"status": status, "required": True, "sentence": f"{check} said"}
        for check, status in statuses.items()
    }
    return {"commit": "abc", "date": "2026-11-29", "changed": False, "seconds": 1.0, "checks": checks}


def test_a_row_is_a_check_and_a_column_a_subject(script: ModuleType) -> None:
    figures = {
        "cancer 0 deeplift": entry(insertion="pass", retrained="fail"),
        "cancer 0 occlusion": entry(insertion="undecided", retrained="pass"),
        "vit 0 deeplift": entry(insertion="invalid"),
    }
    assert script.table(figures, script.RIGHT).splitlines() == [
        "| check | cancer | vit |",
        "| --- | --- | --- |",
        "| retrained | 1 / 0 / 1 | – |",
        "| insertion | 1 / 1 / 0 | 1 invalid |",
    ]


def test_what_does_not_gate_is_not_counted(script: ModuleType) -> None:
    figures = {"cancer 0 deeplift": entry(completeness="fail")}
    figures["cancer 0 deeplift"]["checks"]["completeness"]["required"] = False
    assert script.wrong(figures, script.RIGHT, "fail") == "None."


def test_each_wrong_verdict_has_a_line(script: ModuleType) -> None:
    figures = {"wine 1 deeplift": entry(insertion="fail", deletion="pass")}
    told = "- `wine`, insertion, `deeplift` (seed 1): insertion said"
    assert script.wrong(figures, script.RIGHT, "fail") == told


def test_seeds_and_what_flips_with_them(script: ModuleType) -> None:
    figures = {
        "cancer 0 gradient": entry(insertion="fail", deletion="pass"),
        "cancer 1 gradient": entry(insertion="pass", deletion="undecided"),
        "vit 0 negated": entry(insertion="fail"),
    }
    assert script.flips(figures) == "- `cancer`, insertion, `gradient`"
    assert script.seeds(figures) == "0, 1 (cancer); 0 (vit)"


def test_a_cell_says_why_nothing_was_said(script: ModuleType) -> None:
    assert script.cell(Counter()) == "–"
    assert script.cell(Counter({"fail": 3, "not_applicable": 2})) == "0 / 0 / 3, 2 n/a"


def test_each_broken_method_is_named_by_a_check_of_the_quick_budget(script: ModuleType) -> None:
    known = xattr_check.checks()
    for name, (_, check) in script.BROKEN.items():
        assert known[check].family in script.FAMILIES, name
        assert known[check].cost == "quick", name


@pytest.mark.parametrize("name", ["negated", "moved", "noise_for_the_model", "clipped_on_a_tenth"])
def test_what_is_broken_anywhere_takes_columns(name: str, script: ModuleType) -> None:
    subject = columns()
    explain, _ = script.ANYWHERE[name]
    assert explain(subject.model, subject.inputs, subject.targets).shape == subject.inputs.shape


def test_the_figures_are_written_as_they_are_read(script: ModuleType) -> None:
    text = script.FIGURES.read_text()
    assert script.dump(json.loads(text)) == text
