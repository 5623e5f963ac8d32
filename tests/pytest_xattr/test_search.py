"""Searches in a run of pytest: what hypothesis and xdist are told changes no draw."""

import json
from pathlib import Path
from typing import Any

import pytest

CHECKS = "--xattr-checks=linearity_by_search or dummy_by_search"
# Each starts processes.
pytestmark = pytest.mark.slow
METHOD = """
from xattr_check import claims
from xattr_methods import gradient


@claims("linearity", "dummy")
def rectified(model, inputs, targets):
    return gradient(model, inputs, targets).clamp_min(0)
"""


@pytest.fixture
def search(real_folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's folder with a method that keeps one axiom of two, and hypothesis' own plugin."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:unraisableexception -p no:threadexception")
    real_folder.makepyfile(searched=METHOD)
    return real_folder


def verdicts(folder: pytest.Pytester, *arguments: str) -> dict[str, Any]:
    """What a run says of each check, but for the time that it took."""
    chosen = ("--xattr-method=searched:rectified", "--xattr-subject=mymod:columns", CHECKS)
    kept = folder.path / "found.json"
    outcome = folder.runpytest_subprocess(*chosen, f"--xattr-json={kept}", *arguments)
    outcome.assert_outcomes(passed=1, failed=1)
    told = json.loads(Path(kept).read_text())["results"]
    return {one["check"]: {key: one[key] for key in one.keys() - {"seconds"}} for one in told}


def test_the_seed_of_the_run_alone_tells_what_is_found(search: pytest.Pytester) -> None:
    first = verdicts(search, "--hypothesis-seed=1")
    assert "does not hold for a network of " in first["linearity_by_search"]["sentence"]
    assert verdicts(search, "--hypothesis-seed=2", "--hypothesis-profile=ci") == first
    assert verdicts(search, "--xattr-seed=1") != first


def test_workers_find_what_one_process_finds(search: pytest.Pytester) -> None:
    assert verdicts(search, "-n2") == verdicts(search)
