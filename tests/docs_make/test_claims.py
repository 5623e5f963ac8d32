"""Whether a claim of a paper holds follows from samples."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from xattr_check.statistics.intervals import Interval


def entry(samples: Tensor) -> dict[str, Any]:
    return {"samples": samples.tolist()}


def around(value: float, count: int = 64) -> dict[str, Any]:
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(round(100 * value))).double()
    return entry(value + 0.05 * drawn)


def test_all_of_the_pairs_have_to_hold_and_one_contradicts(script: ModuleType) -> None:
    entries = {"a": around(0.9), "b": around(0.8), "c": around(0.5), "near": around(0.81)}
    assert script.Ahead(("a", "b"), ("c",)).margins(entries).outcome == "agree"
    assert script.Ahead(("c",), ("a", "b"), lower=True).margins(entries).outcome == "agree"
    assert script.Ahead(("b",), ("near", "c")).margins(entries).outcome == "open"
    margins = script.Ahead(("b",), ("a", "c")).margins(entries)
    assert margins.outcome == "does not"
    assert str(margins).endswith("b over a")  # the pair that decides


def test_pairs_are_compared_on_the_inputs_that_both_have(script: ModuleType) -> None:
    shift = torch.linspace(0, 10, 64).double()
    entries = {"few": entry(shift[:16] + 0.1), "many": entry(shift)}
    assert script.Ahead(("few",), ("many",)).margins(entries).by["few over many"].value == pytest.approx(0.1)


def test_nearer_to_one_than_to_the_other(script: ModuleType) -> None:
    entries = {"near": around(0.1), "far": around(0.9), "a": around(0.3), "b": around(0.7)}
    assert script.Nearer("a", "near", "far").margins(entries).outcome == "agree"
    assert script.Nearer("b", "near", "far").margins(entries).outcome == "does not"


def test_a_figure_is_met_within_a_factor_of_two(script: ModuleType) -> None:
    outcomes = [
        script.About("a", 0.4).margins({"a": around(value)}).outcome for value in (0.5, 0.1, 0.8, 1.2)
    ]
    assert outcomes == ["agree", "does not", "open", "does not"]


def test_nothing_is_exactly_nothing(script: ModuleType) -> None:
    rule = script.About("a", 0.0)
    assert rule.margins({"a": entry(torch.zeros(8))}).outcome == "agree"
    assert rule.margins({"a": entry(torch.eye(8)[0])}).outcome == "does not"


def test_one_reference_is_enough_to_pass(script: ModuleType) -> None:
    likeness = {"gradient": around(0.1, 8), "occlusion": around(0.5, 8)}
    rule = script.Passes("a")
    assert set(rule.methods) == {"a", *likeness}
    assert rule.margins(likeness | {"a": around(0.51, 8)}).outcome == "agree"
    assert rule.margins(likeness | {"a": around(0.9, 8)}).outcome == "does not"


def test_a_claim_holds_where_every_seed_says_so(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = script.Claim("a beats b", "there", "1 and 0", "iou", script.Ahead(("a",), ("b",)))
    monkeypatch.setattr(script, "CLAIMS", (claim,))

    def outcome(*pairs: tuple[float, float]) -> str:
        figures = {
            script.key("iou", "digits", seed, name): around(value)
            for seed, pair in enumerate(pairs)
            for name, value in zip("ab", pair, strict=True)
        }
        (row,) = script.rows(figures)
        found: str = row.outcome
        return found

    assert outcome() == "not measured"
    assert outcome((0.9, 0.1)) == outcome((0.9, 0.1), (0.8, 0.1)) == "agree"
    assert outcome((0.1, 0.9)) == "does not"
    assert outcome((0.9, 0.1), (0.1, 0.9)) == outcome((0.9, 0.1), (0.5, 0.51)) == "open"


def test_what_is_claimed_can_be_measured(script: ModuleType) -> None:
    wrong = []
    for claim in script.CLAIMS:
        if claim.measure not in script.MEASURES:
            continue  # pathways, measured all at once
        for subject in claim.on:
            missing = set(claim.rule.methods) - set(script.MEASURES[claim.measure].methods[subject])
            wrong += [f"{claim.words}, {subject}: {name}" for name in missing]
    assert wrong == []


def test_a_margin_of_nothing_decides_nothing(script: ModuleType) -> None:
    assert script.Margins({"a": Interval(0.0, 0.0, 0.0)}).outcome == "open"
