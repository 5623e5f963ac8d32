"""How measured figures are compared with published ones."""

import json
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor


def entry(samples: Tensor) -> dict[str, Any]:
    return {"commit": "abc1234", "date": "2026-11-29", "changed": False, "samples": samples.tolist()}


def kept(value: float, half: float) -> dict[str, Any]:
    return {
        "commit": "abc1234", "date": "2026-11-28", "changed": True, "value": value, "half": half, "n": 64
    }  # fmt: skip


def noise(count: int = 64) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0)).double()


def test_pairs_are_in_the_published_order_in_the_other_or_open(script: ModuleType) -> None:
    drawn = noise()
    samples = {"a": 0.1 * drawn, "b": 1 + 0.1 * drawn, "c": 2 + 0.1 * drawn, "d": 2 + drawn}
    entries = {name: entry(one) for name, one in samples.items()}
    # By the paper a < c = d < b: a and b, a and c, a and d are as there; c and b, d and b are not.
    found = script.order(entries, {"a": 0.1, "b": 0.9, "c": 0.3, "d": 0.3})
    assert (found.same, found.open, found.other) == (3, 0, 2)
    assert found.against == (("b", "c"), ("b", "d"))
    assert found.rank == pytest.approx(0.316, abs=0.4)
    # Where noise is larger than the difference, the pair is open.
    assert script.order({name: entries[name] for name in "cd"}, {"c": 0.1, "d": 0.2}).open == 1


def test_what_an_earlier_page_kept_is_compared_by_its_interval(script: ModuleType) -> None:
    entries = {"a": entry(torch.zeros(64)), "b": kept(0.5, 0.1), "c": kept(0.65, 0.1)}
    found = script.order(entries, {"a": 0.1, "b": 0.2, "c": 0.3})
    assert (found.same, found.open, found.other) == (2, 1, 0)


def test_figures_have_their_interval_and_their_number_where_it_is_small(script: ModuleType) -> None:
    same = entry(torch.full((8,), 0.25))
    assert script.figure(same) == script.figure(same, 8) == "0.250 ± 0.000"
    assert script.figure(same, 64) == "0.250 ± 0.000 (8)"
    assert script.figure(kept(0.759, 0.117)) == "0.759 ± 0.117"


def test_sanity_is_judged_beside_its_references(script: ModuleType) -> None:
    likeness = {"gradient": 0.3 + 0.01 * noise(8), "occlusion": torch.zeros(8), "iba": 0.4 + 0.01 * noise(8)}
    figures = {
        script.key("parameter_randomization", "digits", 0, name): entry(one) for name, one in likeness.items()
    }
    told, outcome = script.judged(figures, "parameter_randomization", "digits", 0, "iba")
    assert outcome == "pass"
    assert "±" in told
    figures[script.key("parameter_randomization", "digits", 0, "iba")] = entry(0.6 + 0.01 * noise(8))
    assert script.judged(figures, "parameter_randomization", "digits", 0, "iba")[1] == "fail"
    table = list(script.sanity(figures))
    assert table[-1].startswith("| iba | pass | digits, seed 0 |")
    assert table[-1].endswith("| **no** |")


def test_the_stamp_is_that_of_what_is_oldest(script: ModuleType) -> None:
    stamp = script.oldest({"a": entry(torch.zeros(2)), "b": kept(0.0, 0.1)})
    assert (stamp.date, stamp.changed) == ("2026-11-28", True)


def test_the_page_is_that_of_the_figures(script: ModuleType) -> None:
    figures = json.loads(script.FIGURES.read_text())
    page = (script.DOCS / "published.md").read_text()
    for name, table in script.tables(figures).items():
        assert table in page, name
    assert script.dump(figures) == script.FIGURES.read_text()
