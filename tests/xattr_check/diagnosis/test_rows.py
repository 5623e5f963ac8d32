"""Rows: what came of a mutant, in one word and in one sentence."""

from collections.abc import Mapping
from typing import Any

import pytest

from xattr_check.core.verdict import Verdict
from xattr_check.diagnosis.rows import Base, Row, closest, outcome_of
from xattr_check.statistics.intervals import Interval


def verdict(check: str, status: Any, value: float = 0.0, width: float = 0.1, **more: Any) -> Verdict:
    interval = Interval(value, value - width, value + width)
    known: Mapping[str, Any] = {"bound": 0.5, "gate": "≤ 0.5", "continues": True, **more}
    return Verdict("broken", "made", check, "made", status, "of it", interval=interval, **known)


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        (["pass", "fail"], "killed"),
        (["undecided", "error"], "killed"),
        (["pass", "undecided"], "undecided"),
        (["pass", "not_applicable", "invalid"], "survived"),
        (["not_applicable", "invalid"], "not_applicable"),
        ([], "not_applicable"),
    ],
)
def test_what_came_of_a_mutant(statuses: list[str], outcome: str) -> None:
    assert outcome_of([verdict(status, status) for status in statuses]) == outcome


def test_the_closest_check_is_undecided_or_the_fewest_widths_from_its_line() -> None:
    far, near = verdict("far", "pass", 0.1, 0.1), verdict("near", "pass", 0.0, 0.4)
    assert closest([far, near]) == "near (pass): 0.000 [-0.400, 0.400] of it"
    open_one = verdict("open", "undecided", 0.4, 0.2)
    assert closest([far, near, open_one]).startswith("open (undecided)")
    beaten = verdict("beaten", "pass", 0.9, 0.1, bound=None, controls={"edges": 0.88})
    assert closest([far, near, beaten]).startswith("beaten (pass)")
    assert closest([]) == ""


def test_what_is_kept_is_read_again() -> None:
    row = Row(
        "mutant:negated@right", "right", "negated", None, 1, "killed", statuses={"a": "pass", "b": "fail"}
    )
    assert Row.from_record({**row.record(), "of a later version": 1}) == row
    assert (row.killers, row.counts) == (["b"], True)
    base = Base("right", 1, ("a",), ("b",), nearest="0.50 edges")
    assert Base.from_record({**base.record(), "passed": ["a"], "failed": ["b"], "later": 1}) == base
