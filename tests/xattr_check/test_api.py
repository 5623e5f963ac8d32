"""The battery as a function and as a decorator."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xattr_check import (
    AtLeast,
    Measurement,
    Results,
    Subject,
    UsageError,
    axiom,
    parametrize_with_checks,
    run_battery,
)
from xattr_check.battery.battery import Battery
from xattr_check.config.settings import Settings
from xattr_check.core import registry
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw

MYMOD = """
import torch
from xattr_check import Subject

def good(model, inputs, targets):
    return torch.ones_like(inputs)

def bad(model, inputs, targets):
    return -torch.ones_like(inputs)

def raising(model, inputs, targets):
    raise ValueError("cannot explain")

def subject():
    return Subject("zeros", torch.nn.Linear(2, 2), torch.zeros(64, 2), torch.zeros(64).long())
"""


def good(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.ones_like(inputs)


def bad(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return -good(model, inputs, targets)


def subject() -> Subject:
    return Subject("zeros", nn.Linear(2, 2), torch.zeros(64, 2), torch.zeros(64, dtype=torch.int64))


def measured(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    return Measurement(method(subject.model, draw.inputs, draw.targets).sum(1).double())


POSITIVE = axiom(statement="It is positive.", family="sanity", gate=AtLeast(0), reads="sum")(measured)
MASKED = axiom(statement="It is masked.", family="sanity", gate=AtLeast(0), needs=["mask"])(measured)


@pytest.fixture(autouse=True)
def _two_checks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    object.__setattr__(POSITIVE, "name", "positive")
    object.__setattr__(MASKED, "name", "masked")
    monkeypatch.setattr(registry, "checks", lambda: {"masked": MASKED, "positive": POSITIVE})
    monkeypatch.chdir(tmp_path)


def test_function_returns_verdicts_as_objects() -> None:
    results = run_battery(good, subject)
    assert isinstance(results, Results)
    assert [(verdict.check, verdict.status) for verdict in results] == [
        ("masked", "not_applicable"),
        ("positive", "pass"),
    ]
    assert results["positive"].interval.value == 2
    assert results.failed == []
    assert str(results).splitlines()[0] == "good on zeros"


def test_several_methods_and_their_failures() -> None:
    results = run_battery([good, bad, "xattr:random"], subject(), checks="positive", seed=3)
    assert [verdict.method for verdict in results] == ["good", "bad", "xattr:random"]
    assert results["bad", "positive"] in results.failed
    assert isinstance(results[:2], Results)
    with pytest.raises(KeyError, match="3 verdicts of that name"):
        results["positive"]


def test_settings_give_way_to_arguments(tmp_path: Path) -> None:
    found = Settings(gates={"positive": AtLeast(5)}, budget="full", storage="elsewhere")
    results = run_battery(good, subject, settings=found, storage=tmp_path / "here", budget="quick")
    assert results["positive"].status == "fail"
    assert (tmp_path / "here").is_dir()
    assert not (tmp_path / "elsewhere").exists()


def test_mistakes_are_usage_errors_before_the_subject_is_made() -> None:
    def never() -> Subject:
        raise AssertionError("made although there is a mistake")

    with pytest.raises(UsageError, match="no check or family 'absent'"):
        run_battery(good, never, checks="absent")
    with pytest.raises(UsageError, match="expected quick, standard, full"):
        run_battery(good, never, budget="huge")
    with pytest.raises(UsageError, match="expected at least one"):
        run_battery([], never)
    with pytest.raises(UsageError, match="expected a function explain"):
        run_battery(3, never)


def test_battery_names_its_subject_before_it_is_loaded() -> None:
    def named(settings: Settings, *subjects: Any) -> list[tuple[str, bool]]:
        return [(one.label, one.is_installed) for one in Battery(settings, [good], subjects).subjects]

    assert named(Settings()) == [("digits", True)]
    assert named(Settings(), subject()) == [("zeros", False)]
    pair = Settings(model="torchvision:resnet18", data="imagefolder:here")
    assert named(pair) == [("torchvision:resnet18 with imagefolder:here", False)]
    both = Settings(subjects=["digits", "digits", "mymod:make"])
    assert named(both) == [("digits", True), ("mymod:make", False)]
    assert named(both, subject(), subject(), subject) == [
        ("zeros", False),
        ("zeros#2", False),
        ("subject", False),
    ]


def test_decorator_makes_a_test_of_each_check(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(mymod=MYMOD)
    pytester.makepyfile(
        test_mine="import mymod, xattr_check\n"
        "methods = (mymod.good, 'mymod:bad', mymod.raising)\n"
        "@xattr_check.parametrize_with_checks(*methods, subject=mymod.subject)\n"
        "def test_explain(check):\n"
        "    verdict = check()\n"
        "    assert verdict.status == 'pass'\n"
    )
    outcome = pytester.runpytest_inprocess("-v", "-p", "no:hypothesispytest")
    outcome.assert_outcomes(passed=1, failed=2, skipped=3)
    outcome.stdout.fnmatch_lines(
        [
            "test_mine.py::test_explain[[]good::positive[]] PASSED *",
            "test_mine.py::test_explain[[]mymod:bad::positive[]] FAILED *",
            "positive: -2 sum (gate ≥ 0)",
            "positive: raised ValueError: cannot explain *",
            "Traceback of the method (most recent call last):",
        ]
    )


def test_decorator_knows_expected_failures() -> None:
    settings = Settings(expected_failures={"positive": "it is meant to be negative"})
    mark = parametrize_with_checks(bad, subject=subject, settings=settings, checks="positive")
    (check,) = mark.args[1]
    with pytest.raises(pytest.xfail.Exception, match="expected: it is meant to be negative"):
        check()
    (unexpected,) = parametrize_with_checks(good, subject=subject, settings=settings, checks="positive").args[
        1
    ]
    with pytest.raises(pytest.fail.Exception, match="remove it from expected_failures"):
        unexpected()
