import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xattr_check import AtLeast, AtMost, Beats, Reaches, Within
from xattr_check.statistics.gate import Judgement
from xattr_check.statistics.intervals import Interval, mean_interval

finite = st.floats(-10, 10, allow_nan=False)


def given_interval(low: float, high: float) -> object:
    return lambda samples, error_rate: Interval((low + high) / 2, low, high)


@pytest.mark.parametrize(
    ("low", "high", "at_most", "at_least"),
    [
        (0.0, 0.4, "pass", "fail"),
        (0.0, 0.5, "pass", "undecided"),
        (0.4, 0.6, "undecided", "undecided"),
        (0.5, 0.5, "pass", "pass"),
        (0.5, 0.7, "undecided", "pass"),
        (0.6, 0.7, "fail", "pass"),
        (-math.inf, math.inf, "undecided", "undecided"),
    ],
)
def test_bounds(low: float, high: float, at_most: str, at_least: str) -> None:
    estimate = given_interval(low, high)
    samples = torch.zeros(3)
    assert AtMost(0.5).judge(samples, {}, estimate).outcome == at_most
    assert AtLeast(0.5).judge(samples, {}, estimate).outcome == at_least


@given(finite, finite, finite)
def test_at_most_mirrors_at_least(one: float, other: float, bound: float) -> None:
    low, high = sorted((one, other))
    below = AtMost(bound).judge(torch.zeros(3), {}, given_interval(low, high))
    above = AtLeast(-bound).judge(torch.zeros(3), {}, given_interval(-high, -low))
    assert below.outcome == above.outcome


@given(finite, finite, finite, st.floats(0, 5))
def test_a_looser_bound_never_turns_a_pass_into_less(
    one: float, other: float, bound: float, slack: float
) -> None:
    estimate = given_interval(*sorted((one, other)))
    if AtMost(bound).judge(torch.zeros(3), {}, estimate).outcome == "pass":
        assert AtMost(bound + slack).judge(torch.zeros(3), {}, estimate).outcome == "pass"


def rows(mean: float, seed: int = 0, n: int = 64) -> Tensor:
    noise = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return mean + 0.1 * (noise - noise.mean())


BEST, LEAST = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)


def test_beats_names_the_rival_that_decides() -> None:
    controls = {"random": rows(0.0, 1), "center": rows(0.5, 2)}

    def judged(mean: float) -> Judgement:
        return Beats(0.1).judge(rows(mean), controls, mean_interval, best=BEST)

    clear = judged(1.0)
    assert (clear.outcome, clear.rival) == ("pass", "center")
    assert clear.difference is not None
    assert clear.difference.value == pytest.approx(0.5)
    assert clear.line == pytest.approx(0.05)  # a tenth of the way from 0.5 to 1
    assert (judged(0.25).outcome, judged(0.25).rival) == ("fail", "center")
    assert (judged(0.56).outcome, judged(0.56).rival) == ("undecided", "center")


@pytest.mark.parametrize("lower", [False, True])
def test_a_method_does_not_beat_itself(lower: bool) -> None:
    own = rows(1.0)
    best = own.mean().reshape(1) * (0.5 if lower else 2)
    judged = Beats(0.02, lower=lower).judge(own, {"itself": own}, mean_interval, best=best)
    assert judged.outcome == "fail"
    assert judged.difference is not None
    assert judged.difference.value == pytest.approx(0, abs=1e-12)


def test_lower_is_the_mirror_of_higher() -> None:
    own, control = rows(0.2), {"random": rows(0.6, 1)}
    assert Beats(0.02, lower=True).judge(own, control, mean_interval, best=LEAST).outcome == "pass"
    assert Beats(0.02).judge(own, control, mean_interval, best=BEST).outcome == "fail"
    mirrored = {"random": -control["random"]}
    assert Beats(0.02).judge(-own, mirrored, mean_interval, best=LEAST).outcome == "pass"


def test_pairing_removes_what_the_draws_share() -> None:
    """Inputs differ by far more than methods do; on the same inputs the difference is clear at once."""
    shared = 10 * rows(0.0, 3)
    control = {"random": shared + 0.01 * rows(0.0, 4)}
    judged = Beats(0.02).judge(shared + 0.1, control, mean_interval, best=shared + 1)
    assert judged.outcome == "pass"


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_share_of_the_way_is_the_same_in_any_units(scale: float) -> None:
    """Where the best is known row by row as well."""
    for mean, outcome in ((0.9, "pass"), (0.62, "fail")):
        own, control = scale * rows(mean), {"center": scale * rows(0.6)}
        assert Beats(0.1).judge(own, control, mean_interval, best=scale * rows(1.0)).outcome == outcome


@given(st.floats(-1, 1), st.floats(0, 1), st.booleans())
def test_more_controls_never_help(gap: float, other: float, lower: bool) -> None:
    gate, best = Beats(0.02, lower=lower), -2 * BEST if lower else 2 * BEST
    one = {"random": rows(0.0, 1)}
    more = {**one, "center": rows(other, 2)}
    if gate.judge(rows(gap), more, mean_interval, best=best).outcome == "pass":
        assert gate.judge(rows(gap), one, mean_interval, best=best).outcome == "pass"


def test_within_takes_the_reference_that_is_the_easiest_to_be_near() -> None:
    gate, references = Within(0.15, of=("one", "two"), lower=True), {"one": rows(0.1, 1), "two": rows(0.4, 2)}
    near = gate.judge(rows(0.45), references, mean_interval)
    assert (near.outcome, near.rival) == ("pass", "two")
    assert near.difference is not None
    assert near.difference.value == pytest.approx(-0.05)
    far = gate.judge(rows(0.7), references, mean_interval)
    assert (far.outcome, far.rival) == ("fail", "two")
    open_one = gate.judge(rows(0.56), references, mean_interval)
    assert (open_one.outcome, open_one.rival) == ("undecided", "two")
    lacks = open_one.shortfall(64)
    assert lacks is not None
    assert lacks.gap == pytest.approx(0.01)


@pytest.mark.parametrize("lower", [False, True])
def test_a_method_is_within_any_margin_of_itself(lower: bool) -> None:
    own = rows(1.0)
    judged = Within(0.0, of=("itself",), lower=lower).judge(own, {"itself": own}, mean_interval)
    assert judged.outcome == "pass"


@given(st.floats(-1, 1), st.floats(-1, 1), st.booleans())
def test_within_is_judged_on_paired_differences_and_in_its_direction(
    own: float, other: float, lower: bool
) -> None:
    """Rows that differ by far more than the methods do, from the same draws."""
    shared = 10 * rows(0.0, 3)
    worse = own - other if lower else other - own
    gate = Within(0.15, of=("one",), lower=lower)
    found = gate.judge(shared + own, {"one": shared + other}, mean_interval).outcome
    if abs(worse - 0.15) > 1e-6:
        assert found == ("pass" if worse < 0.15 else "fail")


def test_a_share_of_the_reference_that_is_the_easiest_to_reach() -> None:
    gate, references = Reaches(0.5, of=("one", "two")), {"one": rows(0.8, 1), "two": rows(0.4, 2)}
    near = gate.judge(rows(0.3), references, mean_interval)
    assert (near.outcome, near.rival) == ("pass", "two")
    assert near.difference is not None
    assert (near.difference.value, near.line) == (pytest.approx(-0.1), pytest.approx(-0.2))
    far = gate.judge(rows(0.1), references, mean_interval)
    assert (far.outcome, far.rival) == ("fail", "two")
    open_one = gate.judge(rows(0.21), references, mean_interval)
    lacks = open_one.shortfall(64)
    assert (open_one.outcome, lacks and lacks.gap) == ("undecided", pytest.approx(0.01))


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_a_share_is_judged_on_paired_rows(own: float, other: float) -> None:
    """Rows whose noise is common, as far as the share takes it over."""
    shared = 10 * rows(0.0, 3)
    found = Reaches(0.5, of=("one",)).judge(shared / 2 + own, {"one": shared + other}, mean_interval).outcome
    if abs(own - other / 2) > 1e-6:
        assert found == ("pass" if own > other / 2 else "fail")


def test_gates_as_text() -> None:
    near = Within(0.15, of=("gradient", "occlusion"), lower=True)
    assert str(near) == "≤ 0.15 above gradient or occlusion"
    assert str(Reaches(0.5, of=("gradient", "occlusion"))) == "≥ 50 % of gradient or occlusion"
    assert str(Within(0.2, of=("gradient",))) == "≤ 0.2 below gradient"
    assert [str(gate) for gate in (AtMost(0.25), AtLeast(0.5), Beats(0.02), Beats(0.02, lower=True))] == [
        "≤ 0.25",
        "≥ 0.5",
        "2 % of the way above every control",
        "2 % of the way below every control",
    ]


def test_what_an_undecided_judgement_lacks() -> None:
    found = AtMost(0.5).judge(torch.zeros(3), {}, given_interval(0.35, 0.55)).shortfall(100)
    assert found is not None
    assert found.gap == pytest.approx(0.05)
    assert found.half_width == pytest.approx(0.1)
    assert found.rows == pytest.approx(400)  # half the width takes four times the rows


def test_a_figure_on_the_gate_is_decided_by_no_number_of_rows() -> None:
    found = AtLeast(0.5).judge(torch.zeros(3), {}, given_interval(0.4, 0.6)).shortfall(100)
    assert found is not None
    assert found.rows == math.inf


def test_what_is_decided_or_knows_no_width_lacks_nothing() -> None:
    assert AtMost(0.5).judge(torch.zeros(3), {}, given_interval(0.1, 0.2)).shortfall(3) is None
    assert AtMost(0.5).judge(torch.zeros(3), {}, given_interval(-math.inf, math.inf)).shortfall(3) is None


@pytest.mark.parametrize(
    ("intervals", "rival", "rows"),
    [
        # All have to be beaten: the last to be decides, though another reaches lower today.
        ({"wide": (0.05, 0.20), "close": (0.03, 0.03)}, "wide", 4444),
        ({"wide": (0.12, 0.20), "close": (0.03, 0.03)}, "close", 900),
        # One that is not beaten fails: the first to show it decides.
        ({"wide": (0.05, 0.20), "below": (0.00, 0.03)}, "below", 225),
    ],
)
def test_the_control_that_decides_in_the_end(
    intervals: dict[str, tuple[float, float]], rival: str, rows: int
) -> None:
    """Each control by the difference from it and its half width, after 100 rows, with a margin of 0.02."""
    names = iter([None, *intervals])

    def estimate(samples: torch.Tensor, error_rate: float) -> Interval:
        value, half = intervals.get(str(next(names)), (0.02, 0.0))
        value -= 0.02  # what is judged is how far the margin is passed
        return Interval(value, value - half, value + half)

    controls = {name: torch.zeros(3, dtype=torch.float64) for name in intervals}
    found = Beats(0.02).judge(torch.zeros(3), controls, estimate, best=BEST)
    assert (found.outcome, found.rival) == ("undecided", rival)
    assert found.shortfall(100).rows == pytest.approx(rows, rel=0.01)
