import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from xattr_check.statistics import intervals
from xattr_check.statistics.intervals import (
    Batched,
    Interval,
    bootstrap_interval,
    exact,
    mean_interval,
    skewed_high,
)

LOOKS = (8, 16, 32, 64, 128)
DISTRIBUTIONS: dict[str, tuple[Callable[[torch.Generator], Tensor], float]] = {
    "normal": (lambda g: torch.randn(128, generator=g, dtype=torch.float64), 0.0),
    "uniform": (lambda g: torch.rand(128, generator=g, dtype=torch.float64), 0.5),
    "skewed": (lambda g: -torch.rand(128, generator=g, dtype=torch.float64).log(), 1.0),
    "rare": (lambda g: (torch.rand(128, generator=g, dtype=torch.float64) < 0.2).double(), 0.2),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_interval_covers_the_mean_at_every_look(name: str) -> None:
    """Coverage under optional stopping: wrong once at any look counts as wrong."""
    sample, truth = DISTRIBUTIONS[name]
    generator = torch.Generator().manual_seed(0)
    runs, wrong = 400, 0
    for _ in range(runs):
        rows = sample(generator)
        # Eight rows of a rare event often show none of it; checks whose rows can be like that draw 32.
        looks = [n for n in LOOKS if n >= 32 or name != "rare"]
        intervals = [mean_interval(rows[:n], error_rate=0.05) for n in looks]
        wrong += any(not item.low <= truth <= item.high for item in intervals)
    # A binomial at the stated rate exceeds this in one test of a thousand; skew costs the small looks some.
    bound = stats.binom.isf(0.001, runs, 0.10 if name in ("skewed", "rare") else 0.05)
    assert wrong <= bound


def test_a_fixed_sample_interval_would_not_cover_every_look() -> None:
    """Why the interval is wider than Student's: looking five times errs more often than once."""
    generator = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(400):
        rows = torch.randn(128, generator=generator).numpy()
        wrong += any(stats.ttest_1samp(rows[:n], 0).pvalue < 0.05 for n in LOOKS)
    assert wrong > stats.binom.isf(0.001, 400, 0.05)


def test_the_interval_shrinks_and_is_finite_from_two_rows_on() -> None:
    rows = torch.randn(512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    widths = [mean_interval(rows[:n]).high - mean_interval(rows[:n]).low for n in (2, 8, 32, 128, 512)]
    assert widths == sorted(widths, reverse=True)
    assert math.isfinite(widths[0])
    assert mean_interval(rows[:1]) == Interval(float(rows[0]), -math.inf, math.inf)
    student = stats.t.interval(0.999, 127, rows[:128].mean(), stats.sem(rows[:128].numpy()))
    assert 1.0 < widths[3] / (student[1] - student[0]) < 1.8


def test_no_spread_is_no_interval() -> None:
    assert mean_interval(torch.full((10,), 0.25, dtype=torch.float64)) == exact(0.25)


def test_the_bootstrap_agrees_with_scipy() -> None:
    rows = torch.rand(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 2
    ours = bootstrap_interval(rows, lambda part: float(part.median()), error_rate=0.05)
    theirs = stats.bootstrap(
        (rows.numpy(),),
        lambda part, axis: np.quantile(part, 0.5, axis=axis, method="lower"),
        n_resamples=4000,
        method="percentile",
        random_state=0,
    ).confidence_interval
    assert ours.value == float(rows.median())
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)
    assert ours == bootstrap_interval(rows, lambda part: float(part.median()), error_rate=0.05)


def test_the_bootstrap_keeps_pairs_together() -> None:
    first = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.stack([first, 2 * first], dim=1)
    found = bootstrap_interval(rows, lambda part: float(torch.corrcoef(part.T)[0, 1]))
    assert found.low == pytest.approx(1.0)
    assert found.high == pytest.approx(1.0)


def test_a_batched_statistic_is_bootstrapped_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.rand(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batched = Batched(lambda many: (many[..., 0] * many[..., 1]).mean(1))
    looped = bootstrap_interval(rows, lambda part: batched(part), resamples=300)
    assert batched(rows) == looped.value == pytest.approx(float((rows[:, 0] * rows[:, 1]).mean()))
    for chunk in (1, 7 * rows.numel(), 2**21):
        monkeypatch.setattr(intervals, "CHUNK", chunk)
        found = bootstrap_interval(rows, batched, resamples=300)
        assert (found.value, found.low, found.high) == pytest.approx((looped.value, looped.low, looped.high))


def test_the_bootstrap_leaves_out_what_is_undefined() -> None:
    rows = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    found = bootstrap_interval(rows, lambda part: 1.0 / float(part.sum()) if part.sum() else math.nan)
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)
    never = bootstrap_interval(rows, lambda part: math.nan)
    assert (never.low, never.high) == (-math.inf, math.inf)


def test_an_interval_as_text() -> None:
    assert str(Interval(0.41234, 0.37, 0.45)) == "0.412 [0.370, 0.450]"
    assert str(exact(0.5)) == "0.5"


def test_the_upper_end_of_skewed_rows_is_the_root_of_the_transformation() -> None:
    """Hall's cubic of the Student ratio that the new end has is the ratio that the old one had."""
    rows = -torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log()
    plain, error = mean_interval(rows), float(rows.std()) / math.sqrt(40)
    centred = rows - rows.mean()
    a = float(centred.pow(3).mean() / centred.square().mean() ** 1.5) / math.sqrt(40)
    ratio = (plain.value - skewed_high(plain, rows)) / error
    told = ratio + a / 3 * ratio**2 + a**2 / 27 * ratio**3 + a / 6
    assert told == pytest.approx((plain.value - plain.high) / error)
    assert skewed_high(plain, rows) > plain.high


def test_no_end_moves_where_the_long_tail_is_below_or_unseen() -> None:
    rows = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log()
    for samples in (rows, torch.ones(8), torch.tensor([1.0])):
        plain = mean_interval(samples)
        assert skewed_high(plain, samples) == plain.high


def test_a_long_tail_above_is_missed_less_often() -> None:
    """Four looks at 32 to 128 rows that are mostly small, as the differences from a good control are."""
    generator, missed, asymptotic = torch.Generator().manual_seed(0), 0, 0
    for _ in range(1000):
        rows = torch.rand(128, generator=generator, dtype=torch.float64) ** 6
        found = [(mean_interval(rows[:n]), rows[:n]) for n in (32, 64, 96, 128)]
        asymptotic += any(one.high < 1 / 7 for one, _ in found)
        missed += any(skewed_high(one, part) < 1 / 7 for one, part in found)
    assert asymptotic >= 5
    assert missed <= 2
