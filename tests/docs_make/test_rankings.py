"""The page of which analysis ranks regions best."""

import math
from dataclasses import replace
from types import ModuleType

import torch
from scipy import stats
from subjects import images

from xattr_check import load_subject
from xattr_methods import sbsa, sobol_sbsa


def test_indices_are_those_of_the_methods(script: ModuleType) -> None:
    """From one set of outputs for S_T and S₁, and with as many forward passes for the others."""
    subject = replace(images(), inputs=images().inputs[:3], targets=images().targets[:3])
    found = script.indices(subject, 2, 8)
    given = subject.model, subject.inputs, subject.targets
    same = {"cells": 2, "baseline": subject.mean}
    methods = {
        "S_T": sobol_sbsa(*given, samples=8, **same),
        "S₁": sobol_sbsa(*given, samples=8, index="first", **same),
        "LIME": sbsa(*given, sensitivity="lime", samples=48, **same),
        "Shapley": sbsa(*given, sensitivity="shapley", samples=8, **same),
    }
    for title, maps in methods.items():
        sums = maps.reshape(3, 2, 6, 2, 6).sum((2, 4)).flatten(1).double()
        torch.testing.assert_close(found[title], sums, rtol=1e-3, atol=1e-4)
        own = script.method_of(subject, found[title])(*given)
        torch.testing.assert_close(own, maps * 36, rtol=1e-3, atol=1e-3)


def test_intervals_are_student_s_and_differences_paired(script: ModuleType) -> None:
    values = torch.tensor([0.1, 0.4, 0.2, 0.9], dtype=torch.float64)
    half = stats.sem(values.numpy()) * stats.t.ppf(0.975, 3)
    assert script.interval(values) == f"{float(values.mean()):.2f} ± {half:.2f}"
    titles = (*script.ANALYSES, *script.OTHERS)
    found = {
        check: {title: values + number for number, title in enumerate(titles)} for check in script.CHECKS
    }
    rows = list(script.rows(found))
    assert len(rows) == 7
    assert rows[1].split(" | ")[2] == "-1.00 ± 0.00"
    assert rows[0].split(" | ")[2] == ""
    assert math.isclose(float(rows[0].split(" | ")[1].split()[0]), 0.4)


def test_every_ranking_has_a_row_on_every_grid(script: ModuleType) -> None:
    page = (script.DOCS / "rankings.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    counts = {rows.count(title) for title in (*script.ANALYSES, *script.OTHERS)}
    assert len(counts) == 1
    assert counts == {rows.count("ranking")}


def test_every_check_judges_every_ranking(script: ModuleType) -> None:
    digits = load_subject("digits")
    few = digits.with_inputs(digits.inputs[:4], digits.targets[:4], {})
    found = script.judged(few, 2, 4)
    assert set(found) == set(script.CHECKS)
    for samples in found.values():
        assert {title: len(values) for title, values in samples.items()} == dict.fromkeys(
            (*script.ANALYSES, *script.OTHERS), 4
        )
