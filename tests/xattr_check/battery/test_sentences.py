"""What an undecided verdict says is missing can be done, and would decide."""

from dataclasses import replace
from pathlib import Path

import pytest
from subjects import images

from xattr_check import Store
from xattr_check.battery.sentences import Spent, cut, missing
from xattr_check.core.run import Budget, Run
from xattr_check.statistics.gate import Shortfall


def told(
    tmp_path: Path,
    there: int,
    rows: int,
    inputs: int,
    needed: float,
    budget: Budget = "quick",
    generated: str = "",
) -> str:
    """What is advised where so many rows of so many inputs are known, and so many rows would do."""
    given = images(count=8)
    if generated == "shipped":
        given = replace(given, generated={"null": {}})
    measured = images(count=there)
    spent = Spent(
        rows, inputs, given if generated else measured, measured, Run(store=Store(tmp_path), budget=budget)
    )
    known = "0.05 from the gate and known to ± 0.1 after "
    return missing(Shortfall(0.05, 0.1, needed), spent).removeprefix(known)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"there": 400, "rows": 128, "inputs": 128, "needed": 251},
            "128 inputs; about 260 inputs would decide: try --xattr-budget=standard",
        ),
        (
            {"there": 5000, "rows": 128, "inputs": 128, "needed": 900},
            "128 inputs; about 900 inputs would decide: try --xattr-budget=full",
        ),
        (
            {"there": 60, "rows": 60, "inputs": 60, "needed": 90},
            "60 inputs; about 90 inputs would decide: give the subject more than its 60 inputs",
        ),
        (
            {"there": 60, "rows": 60, "inputs": 60, "needed": 260},
            "60 inputs; about 260 inputs would decide: give the subject more than its 60 inputs, "
            "and try --xattr-budget=standard",
        ),
        (
            {"there": 400, "rows": 44, "inputs": 128, "needed": 94},
            "44 rows from 128 inputs; about 97 rows from 280 inputs would decide: "
            "try --xattr-budget=standard",
        ),
        (
            {"there": 400, "rows": 128, "inputs": 128, "needed": 4100},
            "128 inputs; if it is as close to the gate as that, no budget decides",
        ),
        (  # what did not do is never advised
            {"there": 400, "rows": 128, "inputs": 128, "needed": 100},
            "128 inputs; about 129 inputs would decide: try --xattr-budget=standard",
        ),
        (
            {"there": 64, "rows": 64, "inputs": 64, "needed": 200, "generated": "made"},
            "64 inputs; about 200 inputs would decide: "
            "--xattr-budget=standard makes more of the 64 generated inputs",
        ),
        (
            {"there": 64, "rows": 64, "inputs": 64, "needed": 200, "generated": "shipped"},
            "64 inputs; about 200 inputs would decide: there are 64 generated inputs",
        ),
        (
            {"there": 210, "rows": 128, "inputs": 128, "needed": 200, "generated": "shipped"},
            "128 inputs; about 200 inputs would decide: try --xattr-budget=standard",
        ),
        (
            {
                "there": 64, "rows": 64, "inputs": 64, "needed": 200, "generated": "made", "budget": "full",
            },
            "64 inputs; about 200 inputs would decide: no budget makes more",
        ),
    ],
)  # fmt: skip
def test_what_would_decide(given: dict[str, object], sentence: str, tmp_path: Path) -> None:
    assert told(tmp_path, **given) == sentence  # type: ignore[arg-type]


def test_why_there_is_one_draw_is_told() -> None:
    told = "a quick run stops at one draw of a method of 256 passes a map"
    assert cut(256.0, required=True) == told
    assert cut(256.0, required=False) == f"{told} that does not claim what is checked"
