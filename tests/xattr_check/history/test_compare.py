"""Two runs side by side."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from xattr_check import AtLeast, AtMost, Beats, Measurement, UsageError, axiom
from xattr_check.core import registry
from xattr_check.core.checks import Axiom
from xattr_check.core.verdict import Drawn, Status, Verdict, of_gate
from xattr_check.history.compare import Change, compare, correct_p_values
from xattr_check.history.rules import broken, parse
from xattr_check.statistics.intervals import Batched, exact


def declared(name: str, **options: Any) -> Axiom:
    def measure(*_: Any) -> Measurement:
        raise AssertionError("never measured")

    measure.__name__ = name
    return axiom(statement="It holds.", family=options.pop("family", "some"), **options)(measure)


def ratio(rows: Tensor) -> Tensor:
    return rows[..., 0].sum(1) / rows[..., 1].sum(1)


CHECKS = [
    declared("low", gate=AtMost(0.5)),
    declared("high", gate=AtLeast(0.5), family="other"),
    declared("beaten", gate=Beats(by=0.02), bounds=(-10, 10)),
    declared("worst", gate=AtMost(0.0), statistic="max"),
    declared(
        "ratio", gate=AtMost(1), statistic=Batched(lambda rows: rows[..., 0].sum(1) / rows[..., 1].sum(1))
    ),
    declared("looped", gate=AtMost(1), statistic=lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum())),
]


@pytest.fixture(autouse=True)
def _checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "checks", lambda: {check.name: check for check in CHECKS})


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def verdict(
    check: str, *draws: Tensor, status: Status = "pass", control: float = 0.9, **given: Any
) -> Verdict:
    found = next(one for one in CHECKS if one.name == check)
    usual: dict[str, Any] = {
        "method": "mymod:explain",
        "subject": "digits",
        "check": check,
        "family": found.family,
        "status": status,
        "sentence": "",
        **of_gate(found.gate),
        "interval": exact(found.value(torch.cat(draws))) if draws else None,
        "fingerprint": "f",
        "code": "c",
        "draws": {str(i): Drawn(rows, {"random": control}) for i, rows in enumerate(draws)},
    }
    return Verdict(**{**usual, **given})


def change(before: Verdict, after: Verdict) -> Change:
    (found,) = compare({before.key: before}, {after.key: after})
    return found


def test_the_same_rows_are_the_same() -> None:
    found = change(verdict("low", noise(32)), verdict("low", noise(32)))
    assert (found.difference, found.p, found.worse, found.clear) == (exact(0.0), 1.0, 0.0, False)


def test_rounding_is_no_change() -> None:
    found = change(verdict("low", noise(32)), verdict("low", noise(32) + 1e-5))
    assert found.p < 0.001  # in every row the same way
    assert (found.worse, found.clear) == (0.0, False)
    assert list(broken(parse("p<0.01, worse>0, worse>0%"), [found])) == []


@pytest.mark.parametrize(("check", "sign"), [("low", 1), ("high", -1), ("beaten", -1)])
def test_which_way_is_worse(check: str, sign: int) -> None:
    rows = 1 + 0.3 * noise(32)
    worse = change(verdict(check, rows), verdict(check, rows + sign * 0.1))
    assert worse.worse == pytest.approx(0.1)
    assert worse.share == pytest.approx(0.1 / float(rows.mean()))
    assert worse.clear
    better = change(verdict(check, rows), verdict(check, rows - sign * 0.1))
    assert better.worse == pytest.approx(-0.1)


def test_pairs_show_what_the_figures_alone_would_not() -> None:
    """A change of 0.1 beside a spread of 3 over the inputs."""
    rows, other = 3 * noise(64), 0.1 + 0.1 * noise(64, 1)
    assert change(verdict("low", rows), verdict("low", rows + other)).p < 0.001
    assert change(verdict("low", rows), verdict("low", rows[torch.randperm(64)] + other)).p > 0.05


def test_p_is_the_share_of_exchanges() -> None:
    """Against all 2¹⁰ of them."""
    rows, other = noise(10), noise(10) + 0.5 * noise(10, 1) + 0.2
    gaps = other - rows
    signs = torch.tensor(list(product([1.0, -1.0], repeat=10)), dtype=torch.float64)
    expected = float(((signs @ gaps).abs() >= gaps.sum().abs() - 1e-12).double().mean())
    assert change(verdict("low", rows), verdict("low", other)).p == pytest.approx(expected, abs=0.015)


def test_p_is_uniform_where_nothing_changed() -> None:
    found = [
        change(verdict("low", noise(32, 2 * seed)), verdict("low", noise(32, 2 * seed + 1))).p
        for seed in range(60)
    ]
    assert 0.35 < sum(found) / len(found) < 0.65
    assert sum(p < 0.1 for p in found) <= 13  # 99.5 % of all sets of 60


@pytest.mark.parametrize("count", [5, 7, 8, 9, 32])
def test_the_interval_leaves_out_zero_where_p_is_below_its_rate(count: int) -> None:
    """Also where rows are few, coarse or have a long tail on one side."""
    for seed in range(0, 24, 2):
        rows, step = noise(count, seed), 0.15 * seed / count**0.5
        for gaps in (noise(count, 100 + seed) + step, noise(count, 100 + seed).exp().round(decimals=1) - 1):
            found = change(verdict("low", rows), verdict("low", rows + gaps))
            assert found.difference is not None
            assert (found.p < 0.01) == (not found.difference.low <= 0 <= found.difference.high)
            assert found.difference.low <= found.difference.value <= found.difference.high
            assert found.clear == (found.p < 0.01)


def test_the_interval_has_the_means_of_the_rows_that_are_exchanged() -> None:
    """Against all 2¹² of them, and Student's interval of normal rows."""
    rows, gaps = noise(12), noise(12, 1) + 0.7
    found = change(verdict("low", rows), verdict("low", rows + gaps)).difference
    some = torch.tensor(list(product([0.0, 1.0], repeat=12))[1:], dtype=torch.float64)
    means = (some @ gaps) / some.sum(1)
    assert found is not None
    for end, share in ((found.low, 0.005), (found.high, 0.995)):
        assert end == pytest.approx(float(means.quantile(share)), abs=0.08)
    student = stats.t.interval(0.99, 11, gaps.mean(), stats.sem(gaps.numpy()))
    assert (found.low, found.high) == pytest.approx(student, abs=0.25)


def test_eight_rows_are_called_worse_no_more_often_than_once_in_a_hundred() -> None:
    clear = [
        change(verdict("low", noise(8, 2 * seed)), verdict("low", noise(8, 2 * seed + 1))).clear
        for seed in range(150)
    ]
    assert sum(clear) <= 6  # 99.9 % of all sets of 150


def test_seven_rows_say_nothing() -> None:
    rows = noise(7)
    found = change(verdict("low", rows), verdict("low", rows + 0.5))
    assert found.difference is not None
    assert (found.difference.low, found.difference.high) == (-math.inf, math.inf)
    assert not found.clear
    assert "not clear" in found.difference_text


def test_worse_is_what_stays_so_among_all_checks_of_the_method() -> None:
    """By itself the difference is clear, among 20 that changed it is what chance may do."""
    rows = noise(24)
    slight = verdict("low", rows), verdict("low", rows + 0.3 + 0.5 * noise(24, 3))
    assert change(*slight).clear
    before, after = {slight[0].key: slight[0]}, {slight[1].key: slight[1]}
    for number in range(20):
        for run, seed in ((before, number), (after, 40 + number)):
            other = replace(verdict("high", noise(24, seed)), check=f"high?{number=}")
            run[other.key] = other
    found = compare(before, after)[0]
    assert found.difference is not None
    assert found.difference.low > 0
    assert not found.clear
    assert found.difference_text.endswith("not clear (lower is better)")


@pytest.mark.parametrize("name", ["ratio", "looped"])
def test_a_statistic_of_its_own(name: str) -> None:
    rows = torch.stack([1 + noise(24).abs(), 2 + noise(24, 1).abs()], dim=1)
    other = rows * torch.tensor([1.3, 1.0])
    found = change(verdict(name, rows), verdict(name, other))
    expected = float(other[:, 0].sum() / other[:, 1].sum() - rows[:, 0].sum() / rows[:, 1].sum())
    assert found.difference is not None
    assert found.difference.value == pytest.approx(expected)
    assert found.difference.low < expected < found.difference.high
    assert found.p < 0.01


def test_only_draws_that_both_have_are_compared() -> None:
    rows = noise(32)
    found = change(verdict("low", rows), verdict("low", rows + 0.5, 100 + rows))
    assert found.difference is not None
    assert found.difference.value == pytest.approx(0.5)


def test_an_exact_figure_needs_no_chance() -> None:
    found = change(verdict("worst", torch.zeros(8)), verdict("worst", torch.eye(8)[0]))
    assert (found.difference, found.worse, found.share, found.p) == (exact(1.0), 1.0, math.inf, 0.0)


INCOMPARABLE = {
    "another subject: the model or the data of 'digits' changed": {"fingerprint": "g"},
    "another seed: the runs have no draw in common": {"draws": {"9": Drawn(torch.zeros(4), {})}},
    "the check measures otherwise now: control 'random' had 0.9 and has 0.8": {"control": 0.8},
    "the check measures otherwise now": {"draws": {"0": Drawn(torch.zeros(4), {})}},
}


@pytest.mark.parametrize("reason", INCOMPARABLE)
def test_what_cannot_be_compared_says_why(reason: str) -> None:
    found = change(verdict("low", noise(8)), verdict("low", noise(8), status="fail", **INCOMPARABLE[reason]))
    assert (found.reason, found.difference, found.worse) == (reason, None, 0.0)
    assert [rule.text for rule, _ in broken(parse("p<0.01, worse>0%, pass->fail"), [found])] == ["pass->fail"]


def test_without_controls_the_source_decides() -> None:
    plain = {"draws": {"0": Drawn(noise(8), {})}}
    assert change(verdict("low", noise(8), **plain), verdict("low", noise(8), **plain)).reason == ""
    found = change(verdict("low", noise(8), **plain), verdict("low", noise(8), code="d", **plain))
    assert found.reason.startswith("the check's source changed")


def test_a_run_of_the_first_version_kept_no_rows() -> None:
    assert change(verdict("low", noise(8), draws={}), verdict("low", noise(8))).reason.startswith(
        "the earlier run"
    )


def test_each_subject_is_compared_with_itself_and_corrected_alone() -> None:
    """As many rows as there are subjects, and the p of one is that of a run of it alone."""
    rows = noise(24)
    before = [verdict("low", rows, subject=name) for name in ("digits", "beats")]
    after = [replace(one, draws={"0": Drawn(rows + 0.5 * noise(24, 3), {})}) for one in before]
    both = compare({one.key: one for one in before}, {one.key: one for one in after})
    assert [(one.before.subject, one.after.subject) for one in both] == [(one.subject,) * 2 for one in before]
    (alone,) = compare({one.key: one for one in before}, {after[1].key: after[1]})
    assert alone == both[1]
    assert alone.corrected == alone.p < 1


def test_what_one_run_alone_has_is_not_compared() -> None:
    one = verdict("low", noise(8))
    assert compare({}, {one.key: one}) == []


RULES = {
    "p<0.01": True,
    "p<1e-5": False,
    "low:p<0.01": True,
    "some:p<0.01": True,
    "other:p<0.01": False,
    "worse>0.05": True,
    "worse>0.2": False,
    "low:worse>5%": True,
    "low:worse>50%": False,
    "any:pass->fail": True,
    "pass->any": True,
    "any -> fail": True,
    "fail->pass": False,
    "high:pass->fail": False,
    "other:any->any, low:worse > 50 %": False,
    "p<0.01 and worse>5%": True,
    "p<0.01 and worse>50%": False,
    "p<1e-5 and worse>5%": False,
    "low:pass->fail and p<0.01 and worse>0.05": True,
    "low:fail->pass and p<0.01": False,
}


@pytest.mark.parametrize("text", RULES)
def test_a_rule_is_broken_or_not(text: str) -> None:
    rows = 1 + 0.3 * noise(32)
    worse = change(verdict("low", rows), verdict("low", rows + 0.1 + 0.01 * noise(32, 1), status="fail"))
    assert bool(list(broken(parse(text), [worse]))) == RULES[text]


def test_a_change_for_the_better_breaks_no_rule() -> None:
    rows = 1 + 0.3 * noise(32)
    better = change(verdict("low", rows), verdict("low", rows - 0.1))
    assert list(broken(parse("p<0.01, worse>0, worse>0%"), [better])) == []


def test_p_is_corrected_for_the_checks_of_a_method() -> None:
    rows = noise(24)
    slight = [
        change(
            verdict("low", rows, method=name), verdict("low", rows + 0.28 + 0.5 * noise(24, 3), method=name)
        )
        for name in ("a", "a", "a", "b")
    ]
    raw = slight[0].p
    assert 0 < raw < 0.05
    found = correct_p_values(slight)
    assert found == pytest.approx({0: 3 * raw, 1: 3 * raw, 2: 3 * raw, 3: raw})


def test_what_leaves_nothing_to_chance_does_not_count_among_the_others() -> None:
    rows = noise(24)
    slight = change(verdict("low", rows), verdict("low", rows + 0.28 + 0.5 * noise(24, 3)))
    same = change(verdict("high", rows), verdict("high", rows))
    exactly = change(verdict("worst", torch.zeros(8)), verdict("worst", torch.eye(8)[0]))
    even = change(verdict("beaten", rows), verdict("beaten", rows + 0.1))  # the same in every row, by chance
    assert (same.exact, exactly.exact, even.exact, slight.exact) == (True, True, False, False)
    found = correct_p_values([slight, same, exactly, even, slight])
    assert found == pytest.approx({0: 2 * slight.p, 1: 1.0, 2: 0.0, 3: 3 * even.p, 4: 2 * slight.p})


def test_a_rule_corrects_for_the_checks_that_it_speaks_of() -> None:
    rows = noise(24)
    slight = change(verdict("low", rows), verdict("low", rows + 0.28 + 0.5 * noise(24, 3)))
    other = change(verdict("high", rows), verdict("high", rows + 0.3 * noise(24, 4)))
    bound = 1.5 * slight.p
    assert list(broken(parse(f"p<{bound}"), [slight, other])) == []
    assert len(list(broken(parse(f"low:p<{bound}"), [slight, other]))) == 1
    cost = change(
        verdict("high", rows, **of_gate(AtMost(math.inf))),
        verdict("high", rows + 0.3 * noise(24, 4), **of_gate(AtMost(math.inf))),
    )
    assert len(list(broken(parse(f"p<{bound}"), [slight, cost]))) == 1


WRONG = {
    "deltion:p<0.01": "no check or family 'deltion'",
    "lo:p<0.01": "no check or family 'lo'; the nearest are low",
    "p<0": "expected p<NUMBER",
    "p<2": "expected p<NUMBER",
    "p<1%": "expected p<NUMBER",
    "worse<3": "expected p<NUMBER",
    "worse>much": "expected p<NUMBER",
    "worse>1e": "came '1e' for a number",
    "pass->failed": "no status 'failed'; the nearest are fail",
    "pass": "expected p<NUMBER",
    "p<0.01 and": "expected p<NUMBER",
    "p<0.01 and low:worse>3": "no check or family 'p<0.01 and low'",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_rule_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UsageError) as told:
        parse(text)
    assert str(told.value).startswith(f"--xattr-compare-fail={text!r}: ")
    assert WRONG[text] in str(told.value)


def test_an_axiom_that_is_not_claimed_breaks_a_rule_by_name_alone() -> None:
    rows = 1 + 0.3 * noise(32)
    worse = change(verdict("low", rows), verdict("low", rows + 0.1, required=False))
    assert list(broken(parse("p<0.01, some:worse>0"), [worse])) == []
    assert len(list(broken(parse("low:p<0.01"), [worse]))) == 1


def test_what_has_no_gate_breaks_a_rule_by_name_alone() -> None:
    """As the cost of a method, which is gated on request."""
    rows = 1 + 0.3 * noise(32)
    worse = change(verdict("low", rows), verdict("low", rows + 0.1, **of_gate(AtMost(math.inf))))
    assert list(broken(parse("p<0.01"), [worse])) == []
    assert len(list(broken(parse("low:worse>5%"), [worse]))) == 1
