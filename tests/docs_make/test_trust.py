"""docs/trust.md is written from docs/trust.jsonl."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

STAMP = {"commit": "abc1234", "date": "2026-11-30", "changed": False}


def run(
    method: str, seed: int, *statuses: str, setting: str = "seed", values: Any = (1.0, 2.0)
) -> dict[str, Any]:
    found = zip(("iou", "deletion"), statuses, values, strict=True)
    told = {name: [one, True, value] for name, one, value in found}
    failed = {name: f"{name} fails" for name, (status, _, _) in told.items() if status == "fail"}
    head = {"subject": "analytic", "method": method, "setting": setting, "seed": seed, "seconds": 0.1}
    return {**head, **STAMP, "verdicts": told, "failures": failed}


RUNS = [
    run("oracle", 0, "pass", "pass"),
    run("oracle", 1, "fail", "undecided"),
    run("occlusion", 0, "pass", "not_applicable"),
    run("oracle", 0, "fail", "undecided", setting="threads"),
    run("oracle", 0, "pass", "pass", setting="batch size"),
    run("random", 0, "fail", "fail", values=(0.0, 3.0)),
    run("edges", 0, "fail", "fail", values=(0.5, 2.5)),
]  # fmt: skip


def test_alarms_and_flips_are_those_of_right_methods(script: ModuleType) -> None:
    row = script.alarms(RUNS).splitlines()[-1]
    assert row == (
        "| all | 1 of 5, 20.0 % [0.5, 71.6] | 1 of 2, 50.0 % [1.3, 98.7] | 1 of 2, 50.0 % [1.3, 98.7] | "
        "1 of 2, 50.0 % [1.3, 98.7] |"
    )
    assert script.failures(RUNS) == "- `oracle` on `analytic`, seed 1: iou fails"
    assert "| `iou` | 1 of 3, 33.3 % [0.8, 90.6] | 0 of 3, 0.0 % [0.0, 70.8] |" in script.by_check(RUNS)


def test_a_verdict_is_held_against_the_same_seed(script: ModuleType) -> None:
    table = script.survival(RUNS)
    assert "| threads | 1 of 2, 50.0 % [1.3, 98.7] | 1 of 2, 50.0 % [1.3, 98.7] |" in table
    assert "| batch size | 0 of 2, 0.0 % [0.0, 84.2] | 0 of 2, 0.0 % [0.0, 84.2] |" in table
    assert "| grid | none | none |" in table


def test_checks_agree_where_more_of_both_is_better(script: ModuleType) -> None:
    # Deletion is better where it is less: over these methods both rank alike.
    assert "| deletion | iou | 1.00 | 1 |" in script.agreement(RUNS)
    assert script.agreement(RUNS[:3]) == "Not measured."


def test_a_line_that_was_cut_off_is_measured_again(script: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    whole = [json.dumps(one) for one in RUNS]
    file.write_text("\n".join(whole) + '\n{"subject": "analy', encoding="utf-8")
    assert script.read(file) == RUNS


def test_the_page_says_when_it_was_made(script: ModuleType, tmp_path: Path) -> None:
    file, page = tmp_path / "runs.jsonl", tmp_path / "trust.md"
    file.write_text("\n".join(json.dumps(one) for one in RUNS), encoding="utf-8")
    script.main(["--runs", str(file), "--write", str(page)])
    text = page.read_text(encoding="utf-8")
    assert "*Made at commit `abc1234` on 2026-11-30 by `docs/make/trust.py`.*" in text


def test_every_right_method_is_a_method(script: ModuleType) -> None:
    import xattr_check

    named = {name for methods in script.RIGHT.values() for name in methods} | set(script.CONTROLS)
    assert {name.partition("?")[0] for name in named} <= set(xattr_check.methods()) | {"oracle"}
    assert set(script.RIGHT) <= set(xattr_check.subjects()) | set(script.MADE)


def test_bright_images_are_the_digits(script: ModuleType) -> None:
    """In [0, 1], with the same outputs."""
    bright, digits = script.bright(), script.load_subject("digits")
    assert (float(bright.inputs.min()), float(bright.inputs.max())) == (0.0, 1.0)
    with script.torch.no_grad():
        assert script.torch.allclose(
            bright.model(bright.inputs[:8]), digits.model(digits.inputs[:8]), atol=1e-4
        )


@pytest.mark.parametrize("setting", ["seed", "fill"])
def test_a_run_is_what_checks_say(script: ModuleType, tmp_path: Path, setting: str) -> None:
    stamp = script.Stamp("abc1234", "2026-11-30")
    found = script.measure("analytic", "oracle", setting, 0, str(tmp_path), stamp)
    assert found["verdicts"]
    assert not found["failures"]
    assert all("?" not in check for check in found["verdicts"])
