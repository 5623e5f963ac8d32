"""A kill matrix as text."""

from dataclasses import replace

import pytest

from xattr_check.config.settings import Settings
from xattr_check.diagnosis.rows import Base, Row
from xattr_check.diagnosis.work import Judged, Plan
from xattr_check.report.kills import kills_by_check, render_lines, share_killed
from xattr_check.wording import WIDTH

METHOD = "xattr:gradcam"
CLAIMED = {"iou": "pass", "linearity": "fail"}
DEAD = {"deletion": "pass", "iou": "fail"}


def row(operator: str, outcome: str, amount: float | None = None, **more: object) -> Row:
    named = operator if amount is None else f"{operator}({amount:g})"
    return Row(f"mutant:{named}@{METHOD}", METHOD, operator, amount, 0, outcome, **more)  # type: ignore[arg-type]


ROWS = (
    row("negated", "killed", statuses=DEAD),
    row("shifted", "killed", 0.125, statuses={**DEAD, "road": "error"}),
    row("smoothed", "survived", 0.125, statuses={"deletion": "pass"}, closest="deletion (pass): 0.1 of it",
        nearest="0.98 edges × xattr:gradcam", likeness=0.92),
    row("clipped", "equivalent", likeness=1.0),
    row("mirrored", "not_applicable"),
    row("random_by_sum", "killed", 0.5, statuses=CLAIMED),
    row("random_by_sum", "killed", 0.2, statuses=DEAD),
    row("random_by_sum", "survived", 0.1),
    Row("file.py:hand", "", "hand", None, 0, "undecided", statuses={"iou": "undecided"}),
)  # fmt: skip
JUDGED = Judged(
    Plan(Settings(), "digits", (METHOD,), (), doses=True),
    (Base(METHOD, 0, ("deletion", "iou"), nearest="0.78 xattr:occlusion"),),
    ROWS,
)


def test_the_whole_text() -> None:
    assert (
        "\n".join(render_lines(JUDGED))
        == """\
kill matrix on digits, quick, seed 0
  mutants: 3 of 4 killed, 0.750 [0.194, 0.994], 1 of them only by what the
  method claims; 1 equal; 1 n/a

  method                         killed  survived undecided     equal       n/a
  gradcam                             3         1         0         1         1
      passes 2 required checks; maps like 0.78 xattr:occlusion

  broken by hand: 0 of 1 killed, 0.000 [0.000, 0.975]

  check                                    kills at least   alone
  iou                                                   2       1
  linearity                                             1       1
  road                                                  1       0

  not killed
    mutant:smoothed(0.125)@xattr:gradcam: survived
        1 check; 0.92 of the right map; maps like 0.98 edges × xattr:gradcam
        closest: deletion (pass): 0.1 of it
    file.py:hand: undecided
        1 check; undecided: iou

  killed by claims alone
    mutant:random_by_sum(0.5)@xattr:gradcam: linearity

  smallest dose killed (of 0.1, 0.2, 0.3, 0.5, 1; – where none is)
    random_by_sum: gradcam 0.2"""
    )


def test_no_line_is_too_long() -> None:
    long = replace(JUDGED, bases=(Base("xattr:" + "long_name" * 5, 0, error="raised it " * 20),))
    assert max(map(len, render_lines(long))) <= WIDTH


def test_shares_and_checks() -> None:
    assert share_killed(ROWS[3:5]) is None
    found = share_killed(ROWS[:3])
    assert found is not None
    assert found.value == pytest.approx(2 / 3)
    assert kills_by_check(ROWS[:3]) == [("iou", 2, 1), ("road", 1, 0)]
