"""What breaks a rule is held against another draw, and stays unless that says otherwise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from xattr_check.core.verdict import Drawn, Key, Verdict, of_gate
from xattr_check.history.compare import compare
from xattr_check.history.confirmation import confirm, find_another, how_to_save
from xattr_check.history.rules import broken, parse
from xattr_check.history.saved import SavedRun
from xattr_check.statistics.gate import Beats
from xattr_check.statistics.intervals import Interval

KEY = Key("s", "m", "insertion")
GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.rand(32, generator=GENERATOR, dtype=torch.float64)


def verdict(rows: torch.Tensor = ROWS, draw: str = "0", **other: Any) -> Verdict:
    value = float(rows.mean())
    gate = of_gate(Beats(0.02))
    found = Verdict(KEY.method, KEY.subject, KEY.check, "faithfulness", "pass", "words", **gate)
    interval = Interval(value, value - 0.1, value + 0.1)
    drawn = {draw: Drawn(rows, {"random": 0.5})}
    return replace(found, interval=interval, draws=drawn, n=len(rows), fingerprint="f", **other)


def saved(seed: int, name: str = "main", **other: Any) -> SavedRun:
    run = {"name": name, "started": f"2026-01-0{seed + 1}T00:00:00", "seed": seed, **other}
    record = verdict(draw=str(seed)).record()
    return SavedRun(Path("x.json"), {"version": 4, "run": run, "results": [json.loads(json.dumps(record))]})


WORSE = verdict(ROWS - 0.2)
FOUND = list(broken(parse("p<0.01"), compare({KEY: verdict()}, {KEY: WORSE})))
NOISE = 0.001 * torch.randn(32, generator=GENERATOR, dtype=torch.float64)

OUTCOMES = {
    "worse again": (verdict(ROWS - 0.2, "1"), True),
    "the same": (verdict(ROWS, "1"), False),
    "better": (verdict(ROWS + 0.2, "1"), False),
    "chance": (verdict(ROWS + 100 * (NOISE - NOISE.mean()), "1"), False),
    "another subject": (replace(verdict(ROWS, "1"), fingerprint="g"), None),
    "no figure": (replace(verdict(ROWS, "1"), interval=None, status="error"), None),
    "not judged": (None, None),
}


@pytest.mark.parametrize("what", OUTCOMES)
def test_only_what_another_draw_says_otherwise_is_dropped(what: str) -> None:
    after, confirmed = OUTCOMES[what]
    assert len(FOUND) == 1
    found = confirm(FOUND, saved(1), {} if after is None else {KEY: after})
    assert [one.confirmed for one in found.rechecks] == [confirmed]
    assert found.upheld == (FOUND if confirmed is not False else [])
    assert found.dropped == (FOUND if confirmed is False else [])
    assert bool(found.rechecks[0].reason) == (confirmed is None)


def test_a_status_is_confirmed_without_figures() -> None:
    failed = replace(WORSE, status="fail")
    rules = list(broken(parse("any:pass->fail"), compare({KEY: verdict()}, {KEY: failed})))
    again = replace(verdict(ROWS, "1"), interval=None, status="fail")
    assert [one.confirmed for one in confirm(rules, saved(1), {KEY: again}).rechecks] == [True]


def test_the_run_that_confirms_is_of_the_same_name_source_and_subject() -> None:
    before = saved(0, sources={"m": "a"}, git={"commit": "c"})
    fits = saved(1, sources={"m": "a"}, git={"commit": "c"})
    later = saved(2, sources={"m": "a"}, git={"commit": "d"})
    others = [
        saved(3, sources={"m": "b"}),
        saved(3, "other", sources={"m": "a"}),
        saved(0, sources={"m": "a"}),
    ]
    assert find_another([fits, later, *others, before], before, FOUND, 0) is fits
    assert find_another([later, *others, before], before, FOUND, 0) is later
    assert find_another([*others, before], before, FOUND, 0) is None


def test_what_to_save_is_a_command() -> None:
    assert how_to_save(saved(0), 0) == "--xattr-seed=1 --xattr-save=main"
    assert how_to_save(saved(0, "it's"), 1) == "--xattr-seed=0 --xattr-save='it'\"'\"'s'"
