"""The ranking of methods, and the summary for a pull request."""

from dataclasses import replace

from xattr_check.core.verdict import Status, Verdict
from xattr_check.history.rules import parse
from xattr_check.report import markdown, standing
from xattr_check.statistics.intervals import Interval


def verdict(method: str, status: Status, check: str = "deletion", *, required: bool = True) -> Verdict:
    sentence = f"{check}: 0.5 of what <img src=x> | `left` @somebody"
    found = Interval(0.5, 0.4, 0.6)
    return Verdict(method, "digits", check, "faithfulness", status, sentence, "≤ 1", found, required=required)


def test_methods_are_ranked_by_failures_then_by_what_is_unclear() -> None:
    verdicts = [
        verdict("fails", "fail"),
        verdict("unclear", "undecided"),
        verdict("unclear", "pass", "insertion"),
        verdict("good", "pass"),
        verdict("good", "fail", "linearity", required=False),
        verdict("nothing", "not_applicable"),
        verdict("raises", "error"),
        verdict("raises", "fail", "insertion"),
    ]
    found = standing.standings(verdicts)
    assert [(one.method, one.verdict) for one in found] == [
        ("good", "passes all 1"),
        ("nothing", "nothing was judged"),
        ("unclear", "passes 1, 1 unclear"),
        ("fails", "fails 1 of 1"),
        ("raises", "fails 2 of 2, 1 by an error"),
    ]
    text = [line for line, _ in standing.render_lines(verdicts)]
    assert all(len(line) <= 80 for line in text)
    assert text[-1] == "  1 failure is not counted: the method does not claim the check, or it is advice"


def test_each_subject_has_a_ranking_of_its_own() -> None:
    good, bad = verdict("good", "pass"), verdict("bad", "fail")
    there = [replace(one, subject="beats") for one in (verdict("good", "fail"), verdict("bad", "pass"))]
    lines = [line.split()[:2] for line, _ in standing.render_lines([good, bad, *there])]
    assert lines == [
        *(["on", "digits"], ["good", "passes"], ["bad", "fails"], ["deletion"]),
        *(["on", "beats"], ["bad", "passes"], ["good", "fails"], ["deletion"]),
    ]
    text = markdown.text([good, bad, *there])
    assert "**good** on beats fails 1 of 1" in text
    assert "| good on beats | deletion |" in text


def test_the_summary_tells_what_fails_and_folds_the_rest() -> None:
    text = markdown.text([verdict("mymod:explain", "fail"), verdict("mymod:explain", "pass", "insertion")])
    assert "## xattr-check: 1 of 2 checks fail" in text
    head, _, folded = text.partition("<details>")
    assert "insertion" not in head
    assert "insertion" in folded


def test_nothing_in_the_summary_is_read_as_markup() -> None:
    text = markdown.text([verdict("my_mod:a|b", "fail")])
    assert "<img" not in text
    assert "@somebody" not in text
    assert r"my\_mod:a\|b" in text


def test_a_rule_that_is_held_to_nothing_is_told() -> None:
    text = markdown.text([verdict("m", "pass")], compared="main", idle=parse("p<0.01"))
    assert "not comparable with before" in text
    assert "`p<0.01`: nothing that it speaks of was compared, so the run fails" in text


def test_a_long_summary_is_cut_where_a_comment_ends() -> None:
    many = [verdict(f"m{n}", "fail", f"c{k}") for n in range(45) for k in range(40)]
    text = markdown.text(many)
    assert len(text) <= markdown.LONGEST + 1
