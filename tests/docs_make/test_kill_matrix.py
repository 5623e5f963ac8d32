"""docs/kill_matrix.md is written from docs/kill_matrix.json."""

import json
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from xattr_check.config.settings import Settings
from xattr_check.diagnosis.rows import Base, Row
from xattr_check.diagnosis.work import Judged, Plan

METHOD = "xattr:gradcam"
DEAD = {"deletion": "pass", "iou": "fail"}


def row(operator: str, outcome: Any, amount: float | None = None, **more: Any) -> Row:
    named = operator if amount is None else f"{operator}({amount:g})"
    return Row(f"mutant:{named}@{METHOD}", METHOD, operator, amount, 0, outcome, **more)


JUDGED = Judged(
    Plan(Settings(), "digits", (METHOD,), ("negated", "clipped", "random_by_sum")),
    (Base(METHOD, 0, ("deletion", "iou"), ("road",), nearest="0.78 xattr:occlusion"),),
    (
        row("negated", "killed", statuses=DEAD),
        row("clipped", "equivalent", likeness=1.0),
        row("random_by_sum", "survived", 0.5, statuses={"iou": "undecided"}, likeness=0.5,
            nearest="0.5 random", closest="iou (undecided): 0.4 of it"),
        row("random_by_sum", "killed", 1.0, statuses=DEAD),
        Row("tests/broken_methods.py:quantised", "", "quantised", None, 0, "killed", statuses=DEAD),
    ),
)  # fmt: skip
FIGURES = {"digits": {"commit": "abc1234", "date": "2026-11-30", "changed": False, **JUDGED.record()}}


def test_a_cell_is_what_came_of_a_mutant_in_its_usual_amount(script: ModuleType) -> None:
    assert script.matrix(JUDGED).splitlines() == [
        "| operator | `gradcam` |",
        "| --- | --- |",
        "| `negated` | ✓ |",
        "| `clipped` | = |",
        "| `random_by_sum` | **✗** |",
    ]


def test_a_method_has_a_row(script: ModuleType) -> None:
    *_, last = script.methods(JUDGED).splitlines()
    assert last == "| `gradcam` | 1 | 1 | 0 | 1 | 0 | 2 | road | 0.78 xattr:occlusion |"


def test_what_a_check_kills_alone(script: ModuleType) -> None:
    *_, last = script.checks(JUDGED).splitlines()
    assert last == "| `iou` | 2 | 2 |"


def test_a_survivor_says_what_came_nearest(script: ModuleType) -> None:
    assert script.survivors(JUDGED) == (
        "- `mutant:random_by_sum(0.5)@xattr:gradcam`: survived, 0.50 of the right map; maps like 0.5 random; "
        "undecided: iou. Closest: iou (undecided): 0.4 of it"
    )


def test_the_smallest_dose(script: ModuleType) -> None:
    first, *_, last = script.doses(JUDGED).splitlines()
    assert first == "Of 0.1, 0.2, 0.3, 0.5, 1; the median of 1 is 1."
    assert last == "| `random_by_sum` | 1 |"


def test_what_was_broken_by_hand_has_a_family(script: ModuleType) -> None:
    *_, last = script.families(JUDGED.by_hand).splitlines()
    assert last == "| contract | 1 | 0 | 0 | 0 | 0 |"


def test_the_page_is_written_from_what_was_kept(script: ModuleType, tmp_path: Path) -> None:
    kept, page = tmp_path / "figures.json", tmp_path / "page.md"
    kept.write_text(script.dump(FIGURES))
    assert json.loads(kept.read_text()) == json.loads(json.dumps(FIGURES))
    script.main([f"--figures={kept}", f"--write={page}"])
    text = page.read_text()
    assert "*Made at commit `abc1234` on 2026-11-30 by `docs/make/kill_matrix.py`.*" in text
    assert "Killed: 1 of 2, 0.500 [0.013, 0.987], at the quick budget (seeds: 0), made at commit `abc" in text
    assert "Of the methods in `tests/broken_methods.py`: 1 of 1, 1.000 [0.025, 1.000]." in text
    assert "- `edges_by_product`: The map times the magnitude of that of the control edges." in text


def test_a_small_measurement(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = script.argparse.Namespace(
        methods="xattr:input_x_gradient",
        also=False,
        storage=str(tmp_path),
        seeds="0",
        doses=False,
        n=1,
        minutes=None,
    )
    monkeypatch.setattr(script, "operators", lambda: {"negated": None})
    checks = partial(Settings, checks="symmetry or dummy", device="cpu")
    monkeypatch.setattr(script, "Settings", checks)
    judged = script.measure("analytic", arguments)
    assert [(one.operator, one.outcome) for one in judged.rows] == [("negated", "survived")]
