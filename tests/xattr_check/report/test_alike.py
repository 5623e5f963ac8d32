"""Rank correlation of checks over methods, against SciPy."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from xattr_check.core.verdict import Verdict
from xattr_check.report import alike
from xattr_check.statistics.intervals import Interval

METHODS = [f"m{number}" for number in range(7)]
FIGURES = np.random.default_rng(0).normal(size=(3, 7)).round(1)


def verdict(method: str, check: str, value: float, better: str = "higher") -> Verdict:
    return Verdict(
        method, "digits", check, "faithfulness", "pass", "", "", Interval(value, value, value), bound=0.0,
        better=better,
    )  # fmt: skip


def run() -> list[Verdict]:
    """Of three checks, the second of which is better where it is lower."""
    checks = ("insertion", "deletion", "iou")
    return [
        verdict(
            method,
            check,
            -value if check == "deletion" else value,
            "lower" if check == "deletion" else "higher",
        )
        for check, row in zip(checks, FIGURES, strict=True)
        for method, value in zip(METHODS, row, strict=True)
    ]


def test_pairs_by_scipy() -> None:
    found = {(pair.check, pair.other): pair for pair in alike.pairs_of_checks(run())}
    names = ("insertion", "deletion", "iou")
    assert len(found) == 3
    for one, other in combinations(range(3), 2):
        pair = found[names[one], names[other]]
        assert pair.correlation == pytest.approx(spearmanr(FIGURES[one], FIGURES[other]).statistic)
        assert pair.methods == 7
    order = [pair.correlation for pair in alike.pairs_of_checks(run())]
    assert order == sorted(order, reverse=True)


def test_methods_that_only_one_check_judged_are_left_out() -> None:
    some = [one for one in run() if (one.check, one.method) not in {("iou", "m0"), ("deletion", "m1")}]
    pairs = {(pair.check, pair.other): pair for pair in alike.pairs_of_checks(some)}
    assert pairs["deletion", "iou"].methods == 5
    wanted = spearmanr(FIGURES[1][2:], FIGURES[2][2:]).statistic
    assert pairs["deletion", "iou"].correlation == pytest.approx(wanted)
    assert alike.pairs_of_checks(some, fewest=8) == []


@pytest.mark.parametrize(
    "change",
    [
        {"family": "contract"},
        {"bound": None},
        {"interval": None},
        {"interval": Interval(0.5, 0.4, 0.6)},
    ],
)
def test_checks_that_rank_nothing_are_left_out(change: dict[str, object]) -> None:
    found = [replace(one, **change) if one.check == "iou" else one for one in run()]
    assert [(pair.check, pair.other) for pair in alike.pairs_of_checks(found)] == [("insertion", "deletion")]


def test_both_ends_are_shown_for_each_subject() -> None:
    more = [
        verdict(method, f"c{check}", float(value))
        for check in range(5)
        for method, value in zip(METHODS, np.random.default_rng(check).normal(size=7), strict=True)
    ]
    there = [replace(one, subject="beats") for one in run()]
    lines = [line for line, _ in alike.render_lines([*more, *there])]
    assert len(lines) == 1 + 6 + 1 + 3
    assert lines[0] == "checks that rank the methods on digits most alike, and least"
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].split()[-2:] == ["7", "methods"]
    assert list(alike.render_lines(run()[:4])) == []
