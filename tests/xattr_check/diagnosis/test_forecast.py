"""What a kill matrix is told to take, and which methods are left out of it."""

import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from subjects import columns
from torch import Tensor, nn

from xattr_check import load_method
from xattr_check.config.settings import Settings
from xattr_check.core.run import Run
from xattr_check.diagnosis import work
from xattr_check.diagnosis.fingerprint import drawn
from xattr_check.diagnosis.forecast import Far, Forecast
from xattr_check.diagnosis.price import Price, price
from xattr_check.diagnosis.work import Plan, judge

FAST, SLOW, NEVER = Price("fast", 0.001, 0), Price("slow", 1, 0), Price("never", 5, 0, reached=False)


def forecast(minutes: float | None, *given: Price, processes: int = 1) -> Forecast:
    return Forecast.of(given, lambda one: 1000 * one.each, processes, minutes)


def test_the_cheapest_that_fit_are_taken_in_the_order_in_which_they_were_given() -> None:
    assert [one.method for one in forecast(None, NEVER, SLOW, FAST).taken] == ["never", "slow", "fast"]
    assert [one.method for one in forecast(20, NEVER, SLOW, FAST).taken] == ["slow", "fast"]
    assert [one.method for one in forecast(10, NEVER, SLOW, FAST).taken] == ["fast"]
    assert [one.method for one in forecast(10, SLOW, FAST, processes=2).taken] == ["slow", "fast"]
    assert [one.method for one in forecast(1000, NEVER).left_out] == ["never"]  # nobody knows how long


def test_where_the_others_took_less_there_is_time_for_more() -> None:
    found = forecast(10, NEVER, SLOW, FAST)  # of 1 s and 1000 s
    assert [one.method for one in found.corrected(0.5, 10).taken] == ["slow"]
    assert found.corrected(0.5, 10).told.startswith("1 method, about 8 min")
    assert [one.method for one in found.corrected(2.0, 10).left_out] == ["never", "slow"]
    assert found.corrected(0.5, -1.0).taken == []


def test_it_is_told_how_long_and_what_is_left_out() -> None:
    found = forecast(10, NEVER, SLOW, FAST)
    assert found.told.startswith(
        "1 method, about 1 s, less where they fail by themselves or were judged before"
    )
    assert [found.why_left_out(one) for one in found.left_out] == [
        "takes more than 5 s for a map, and more than 83 min with its mutants, which does not fit into "
        "--minutes; --methods never judges it all the same",
        "takes 1 s for a map, and about 17 min with its mutants, which does not fit into --minutes; "
        "--methods slow judges it all the same",
    ]
    assert forecast(None, NEVER, FAST, processes=2).told.startswith(
        "2 methods, more than 42 min by 2 processes"
    )
    # One that gives no maps here costs nothing, and is none of those that are judged.
    assert forecast(10, FAST, Price("mute", 0, 0)).told.startswith("1 method, about 1 s")


def test_a_slow_method_is_not_waited_for(run: Run) -> None:
    def sleepy(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        time.sleep(60)
        return inputs

    def mistaken(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        raise ValueError("no")

    draw = drawn(columns(), run)
    found = price(load_method(sleepy), draw, patience=0.2)
    assert (found.each, found.reached) == (0.05, False)
    assert found.told == "more than 0.05 s for a map"
    assert price(load_method(mistaken), draw).seconds(10) == 0
    right = price(load_method("xattr:gradient"), draw)
    assert right.reached
    assert 0 < right.each < 0.05
    assert Price.from_record(right.record()) == right
    assert right.seconds(10) < right.seconds(20) < right.seconds(20, thorough=True)


def test_what_does_not_fit_is_not_judged_unless_it_is_named(tmp_path: Path) -> None:
    known: dict[str, Any] = {"methods": ("xattr:gradient",), "operators": ("shifted",)}
    settings = Settings(storage=str(tmp_path), checks="dummy", device="cpu")
    told: list[str] = []
    judged = judge(Plan(settings, "analytic", **known, minutes=1e-6), tell=told.append)
    assert judged.rows == ()
    assert "--methods xattr:gradient judges it all the same" in judged.bases[0].error
    assert [line for line in told if judged.bases[0].error in line]
    assert judge(Plan(settings, "analytic", **known)).bases[0].passed == ("dummy",)


def test_what_fits_after_all_is_judged_and_left_out_no_more(tmp_path: Path) -> None:
    """A forecast is of all checks of a quick run on average, and one check of two methods is far less."""
    methods, settings = (
        ("xattr:gradient", "xattr:input_x_gradient"),
        Settings(storage=str(tmp_path), checks="deletion", device="cpu"),
    )
    plan = Plan(settings, "analytic", methods, ("shifted",), minutes=1000)
    judge(plan)
    each = max(plan.seconds(Price(name, 0.001, 0.0)) for name in methods)
    told: list[str] = []
    judged = judge(replace(plan, minutes=1.6 * each / 60), tell=told.append)
    assert [base.error for base in judged.bases] == ["", ""]
    assert len(judged.rows) == 2
    assert [line for line in told if line.startswith("there is time left: 1 method, about ")]


def test_nothing_is_begun_when_the_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods, settings = (
        ("xattr:gradient", "xattr:input_x_gradient"),
        Settings(storage=str(tmp_path), checks="dummy", device="cpu"),
    )
    plan = Plan(settings, "analytic", methods, ("shifted",), minutes=1000)
    clock = count(0, 100_000)
    monkeypatch.setattr(work, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    told: list[str] = []
    judged = judge(plan, tell=told.append)
    assert [(base.passed, base.error) for base in judged.bases] == [(("dummy",), ""), ((), work.OVER)]
    assert judged.rows == ()
    assert "the time is over, and 2 parts are left; the same command with more --minutes goes on" in told
    monkeypatch.undo()
    assert len(judge(plan).rows) == 2


def test_fewer_checks_and_mutants_take_less() -> None:
    known: dict[str, Any] = {"subject": "analytic", "methods": (), "operators": ("shifted", "random_by_sum")}
    whole = Plan(Settings(), **known)
    assert whole.share == 1
    assert Plan(Settings(checks="dummy"), **known).share < 0.1
    assert (whole.mutants, Plan(Settings(), **known, doses=True).mutants) == (2, 4)
    assert Plan(Settings(), **known, seeds=(0, 1)).seconds(FAST) == 2 * whole.seconds(FAST)


def test_how_far_it_is() -> None:
    far = Far(2, "methods", began=time.monotonic() - 10)
    assert far.step() == "(1 of 2 methods, 10 s, about 10 s more)"
    assert far.step() == "(2 of 2 methods, 10 s)"
