"""The table: what a person reads."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from xattr_check import Verdict
from xattr_check.core.verdict import Status, of_gate
from xattr_check.report.table import advice, render_lines, summary, table
from xattr_check.statistics.gate import Beats
from xattr_check.statistics.intervals import Interval, exact

PASS = Verdict(
    "mymod:explain", "digits", "shape", "contract", "pass", "0 violations", "≤ 0", exact(0), bound=0.0
)
FAIL = Verdict(
    "mymod:explain",
    "digits",
    "parameter_randomization",
    "sanity",
    "fail",
    "similarity to the maps of a random model (gate ≤ 0.25)",
    "≤ 0.25",
    Interval(0.91, 0.88, 0.94),
    continues=True,
    bound=0.25,
    controls={"edges": 0.99, "random": 0.0123456},
)
BEATS = replace(
    FAIL,
    check="deletion",
    family="faithfulness",
    status="pass",
    **of_gate(Beats(0.05, lower=True)),
    interval=Interval(-0.123, -0.2, -0.05),
)
EXACT = replace(FAIL, check="completeness", family="exact", required=False)
RAISED = replace(PASS, check="finite", status="error", sentence="raised OSError", interval=None)


def test_rows_by_family_with_one_sentence_under_each_failure() -> None:
    assert table([FAIL, EXACT, BEATS, RAISED, PASS]) == "\n".join(
        [
            "mymod:explain on digits",
            "  contract",
            "    finite                     ERROR",
            "        raised OSError",
            "    shape                      pass",
            "  exact",
            "    completeness               fail      0.910 [0.880, 0.940]    (not claimed)",
            "  sanity",
            "    parameter_randomization    FAIL      0.910 [0.880, 0.940]    gate ≤ 0.25",
            "        similarity to the maps of a random model (gate ≤ 0.25)",
            "  faithfulness",
            "    deletion                   pass      -0.123 [-0.200, -0.050] gate < controls",
            "  2 pass, 1 fail, 1 error, 1 not claimed",
        ]
    )


@pytest.mark.parametrize("status", ["pass", "undecided", "fail"])
def test_what_nobody_claims_shows_no_gate(status: Status) -> None:
    row = table([replace(EXACT, status=status)]).splitlines()[2]
    assert row.endswith(" 0.910 [0.880, 0.940]    (not claimed)")


def test_a_sentence_is_said_once() -> None:
    other = replace(RAISED, check="shape", sentence="raised OSError")
    assert table([RAISED, other]).splitlines()[-2] == "        as at finite"


def test_a_sentence_that_differs_by_the_name_of_its_check_is_said_once() -> None:
    made = [
        replace(RAISED, check=name, sentence=f"ask for --scenario={name}") for name in ("graded", "synergy")
    ]
    rows = table(made).splitlines()
    assert rows[-4].strip() == "ask for --scenario=graded"
    assert rows[-2].strip() == "as at graded"


def test_controls_stand_under_their_statistic() -> None:
    assert "        controls: edges 0.99, random 0.0123" in table([FAIL], controls=True).splitlines()
    assert "controls:" not in table([FAIL])


def test_brief_shows_what_needs_attention_and_counts_the_rest() -> None:
    skipped = replace(PASS, check="roar", family="retraining", status="not_applicable")
    found = [line for line, _ in render_lines([PASS, FAIL, EXACT, skipped], brief=True)]
    assert [line.split()[0] for line in found if line.startswith("    ") and line[4] != " "] == [
        "parameter_randomization"
    ]
    assert found[-1] == "  1 pass, 1 fail, 1 n/a, 1 not claimed"


def test_methods_stay_in_their_order() -> None:
    found = table([replace(PASS, method="b:f"), replace(PASS, method="a:f")])
    assert found.index("b:f on digits") < found.index("a:f on digits")


@pytest.mark.parametrize(
    "verdict",
    [
        replace(FAIL, method="a/long/path/to/a/file/in/a/folder.py:with_a_long_name?and=parameters&more=2"),
        replace(FAIL, sentence="word " * 60, interval=Interval(-123456.0, -2e9, math.inf)),
        replace(BEATS, status="undecided", check="a_check_with_a_name_of_twenty_eight"),
        replace(FAIL, controls={f"control_{n}": n / 7 for n in range(20)}),
    ],
)
def test_no_line_is_wider_than_eighty_columns(verdict: Verdict) -> None:
    assert max(len(line) for line, _ in render_lines([verdict], controls=True)) <= 80


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (exact(0), "0"),
        (Interval(0.5, 0.4, 0.6), "0.500 [0.400, 0.600]"),
        (Interval(0.0005, 0.0004, 0.0006), "0.0005 [0.0004, 0.0006]"),
        (Interval(1234.0, 1200.0, 1300.0), "1.23e+03 [1.2e+03, 1.3e+03]"),
        (Interval(0.5, -math.inf, math.inf), "0.500 [-inf, inf]"),
    ],
)
def test_intervals_show_digits_that_matter(interval: Interval, text: str) -> None:
    assert str(interval) == text


def test_advice_is_told_with_its_reason() -> None:
    advice = replace(
        FAIL,
        required=False,
        advisory="a map may",
        sentence=f"{FAIL.sentence}; this is advice, since a map may",
    )
    found = table([PASS, advice])
    assert "fail      0.910 [0.880, 0.940]    (advice)" in found
    assert "this is advice, since a map may" in " ".join(found.split())
    assert summary([PASS, advice, EXACT]) == "1 pass, 1 not claimed, 1 advice"
    assert not advice.failed


def test_counts() -> None:
    assert summary([PASS, PASS, EXACT]) == "2 pass, 1 not claimed"


def test_record_brings_the_verdict_back() -> None:
    assert Verdict.from_record(FAIL.record()) == FAIL
    assert Verdict.from_record(RAISED.record()) == RAISED
    endless = replace(FAIL, interval=Interval(0.5, -math.inf, 0.6)).record()
    assert endless["interval"] == [None, 0.6]
    assert math.isnan(Verdict.from_record(endless).interval.low)  # type: ignore[union-attr]


def test_one_line_says_how_to_give_what_checks_lack() -> None:
    needy = replace(PASS, status="not_applicable", sentence="needs mask", lacks=("mask",))
    line = advice([needy, PASS, needy])
    assert line == "what a subject may offer, and how: docs/subjects.md, 'What is known besides'"
    assert len(line) <= 80
    assert advice([PASS]) == ""
    page = Path(__file__).parents[3] / "docs/subjects.md"
    assert "## What is known besides" in page.read_text(encoding="utf-8")
