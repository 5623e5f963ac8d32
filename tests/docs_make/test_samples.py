"""What docs/published.md rests on is measured once, and kept."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from subjects import columns

from xattr_check import Store
from xattr_check.core.run import Run


def measuring(script: ModuleType, figures: dict[str, Any], **options: Any) -> Any:
    return script.Measuring(figures, lambda: None, stamp=script.Stamp("abc1234", "2026-11-29"), **options)


def test_samples_are_those_of_the_check(script: ModuleType, tmp_path: Path) -> None:
    measure = script.Measure("deletion", {})
    subject = columns(count=40)
    found = script.measured(measure, script.loaded("gradient"), subject, Run(store=Store(tmp_path)), 40)
    assert found.shape == (40,)
    again = script.measured(measure, script.loaded("gradient"), subject, Run(store=Store(tmp_path)), 32)
    assert torch.equal(again, found[:32])


def test_what_ends_in_magnitude_is_ranked_by_it(script: ModuleType) -> None:
    assert not script.loaded("integrated_gradients").sensitivity
    assert script.loaded("integrated_gradients, magnitude").sensitivity
    assert script.loaded("integrated_gradients") is script.loaded("integrated_gradients")


def test_what_is_there_is_not_measured_again(script: ModuleType) -> None:
    figures: dict[str, Any] = {script.key("iou", "digits", 0, "iba"): {}}
    some = measuring(script, figures, measures=("iou",), subjects=("digits",))
    assert not some.wanted("iou", "digits", 0, "iba")
    assert some.wanted("iou", "digits", 1, "iba")
    assert not some.wanted("insertion", "digits", 1, "iba")
    assert measuring(script, figures, anew=True).wanted("iou", "digits", 0, "iba")


def test_what_takes_minutes_is_measured_where_it_is_named(script: ModuleType) -> None:
    asked = "insertion", "digits", 0, "extremal_perturbation"
    assert not measuring(script, {}).wanted(*asked)
    assert measuring(script, {}, methods=("extremal_perturbation",)).wanted(*asked)


def test_slow_methods_are_planned_last_and_once(script: ModuleType) -> None:
    plan = [one for one in measuring(script, {}).plan() if one[0] == "digits"]
    slow = [(seed, measure) for _, seed, method, measure in plan if method in script.SLOW]
    assert slow
    assert {seed for seed, _ in slow} == {0}
    first = [method for _, seed, method, _ in plan if seed == 0]
    assert set(first[-len(slow) :]) == set(script.SLOW)


def test_each_figure_is_kept_as_soon_as_it_is_there(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = columns(count=40)
    monkeypatch.setattr(script, "subject_of", lambda name, data: subject)
    monkeypatch.setattr(
        script, "MEASURES", {"deletion": script.Measure("deletion", {"digits": ("gradient", "random")}, 32)}
    )
    saved: list[int] = []
    figures: dict[str, Any] = {}
    some = measuring(script, figures, measures=("deletion",), seeds=(0,))
    some.save = lambda: saved.append(len(figures))
    some.measure(tmp_path)
    assert saved == [1, 2]
    one = figures[script.key("deletion", "digits", 0, "gradient")]
    assert (one["commit"], len(one["samples"])) == ("abc1234", 32)
    assert script.count_of(one) == 32


def test_the_printed_heat_ratio_has_the_largest_heat_as_its_unit(script: ModuleType) -> None:
    from xattr_check import Measurement

    curve = torch.tensor([[4.0, 8.0], [1.0, 1.0]]).double()
    scores = torch.tensor([[8.0, 0.0], [0.0, -1.0]]).double()  # the second map has no heat
    found = Measurement(torch.zeros(2), evidence={"published_heat_ratio": curve})

    class Explained:
        def scores(self, *asked: object) -> torch.Tensor:
            return scores

    class Drawn:
        subject = columns(count=2)
        inputs, targets = subject.inputs, subject.targets

    assert script.heat_by_number(found, Explained(), Drawn()).tolist() == pytest.approx([0.75, 1.0])
