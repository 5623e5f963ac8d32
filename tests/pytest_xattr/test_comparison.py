"""Runs that are saved and compared from the command line."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from xattr_check.battery.battery import Battery
from xattr_check.storage.digest import derive_seed

Judge = Any
CHECKS = "--xattr-checks=fits, follows, promise, tossed"


def saved(folder: pytest.Pytester) -> list[Path]:
    return sorted((folder.path / ".xattr" / "history").glob("*.json"))


def test_a_run_is_saved_under_a_name(folder: pytest.Pytester, judge: Judge) -> None:
    outcome = judge(CHECKS, "--xattr-save=first")
    outcome.stdout.fnmatch_lines(["saved as *_first_*.json"])
    (path,) = saved(folder)
    content = json.loads(path.read_text())
    assert (content["run"]["name"], content["run"]["missing"]) == ("first", 0)
    assert list(content["run"]["sources"]) == ["mymod:good"]
    follows = next(one for one in content["results"] if one["check"] == "follows")
    assert len(follows["draws"]) == 1
    (draw,) = follows["draws"].values()
    assert len(draw["rows"]) == 32
    assert set(draw["controls"]) == {"random"}


@pytest.mark.parametrize("options", [["--xattr-save"], ["--xattr-autosave"]])
def test_without_a_name_it_has_that_of_the_commit(
    options: list[str], folder: pytest.Pytester, judge: Judge
) -> None:
    judge(CHECKS, *options)
    judge(CHECKS, *options)
    assert [json.loads(path.read_text())["run"]["name"] for path in saved(folder)] == ["unnamed"] * 2


def test_the_same_method_is_the_same(judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=first")
    outcome = judge(CHECKS, "--xattr-compare", "--xattr-compare-fail=p<0.01, any:any->any, worse>0")
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.fnmatch_lines(["with first of 20*", "  mymod:good", "  4 the same"])
    outcome.stdout.no_fnmatch_line("*->*")


def test_a_worse_one_turns_red(folder: pytest.Pytester, judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=first")
    # A column of every map is lost: it still points where it should, less so.
    path = folder.path / "mymod.py"
    lost = "    return gradient(model, inputs, targets).index_fill(1, torch.tensor([0]), 0.0)\n"
    path.write_text(path.read_text().replace("    return gradient(model, inputs, targets)\n", lost, 1))
    sys.modules.pop("mymod", None)
    outcome = judge(CHECKS, "--xattr-compare=first", "--xattr-compare-fail=p<0.01")
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    outcome.assert_outcomes(passed=3, skipped=1)
    outcome.stdout.fnmatch_lines(
        [
            "*xattr-check: compared*",
            "with first of 20*",
            "    follows                    pass                1 -> 0.*",
            "*worse (higher is better), p = 0.000*",
            "*allowed by p<0.01",
            "  2 worse, 2 the same",
            "*not allowed, so the run fails",
        ]
    )
    assert judge(CHECKS, "--xattr-compare=first").ret == pytest.ExitCode.OK
    assert judge(CHECKS, "--xattr-compare=first", "--xattr-compare-fail=follows:worse>90%").ret == 0


# A column of some maps is lost: of all, or of those that the draw by seed 0 has and that by seed 1 has not.
LOST = """
def good(model, inputs, targets):
    found = gradient(model, inputs, targets)
    chosen = torch.tensor({chosen})
    one = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))[chosen, 0]
    found[torch.isin(inputs[:, 0], one), 0] = 0.0
    return found
"""
RULE = "--xattr-compare-fail=p<0.01"


def lose_a_column(folder: pytest.Pytester, seeds: Sequence[int] = ()) -> None:
    drawn = [
        set(
            torch.randperm(64, generator=torch.Generator().manual_seed(derive_seed("order", seed)))[
                :32
            ].tolist()
        )
        for seed in (0, 1)
    ]
    chosen = sorted(drawn[0] - drawn[1]) if seeds == [0] else list(range(64))
    path = folder.path / "mymod.py"
    path.write_text(path.read_text() + LOST.format(chosen=chosen))
    sys.modules.pop("mymod", None)


def save_two_draws(judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=main", "--xattr-seed=1")
    judge(CHECKS, "--xattr-save=main")


def told(outcome: pytest.RunResult) -> str:
    return " ".join(outcome.stdout.str().split())


def test_what_another_seed_breaks_as_well_stays_red(folder: pytest.Pytester, judge: Judge) -> None:
    save_two_draws(judge)
    lose_a_column(folder)
    outcome = judge(CHECKS, "--xattr-compare=main", RULE, "--xattr-json=out.json")
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    assert "not allowed by p<0.01, confirmed by seed 1 (p = 0.000" in told(outcome)
    outcome.stdout.fnmatch_lines(["1 change is confirmed by seed 1 (main of 20*"])
    comparison = json.loads((folder.path / "out.json").read_text())["comparison"]
    assert comparison["confirmed_by"] == 1
    assert {one["confirmed"] for one in comparison["broken"]} == {True}


def test_what_one_seed_alone_breaks_is_told_and_fails_nothing(folder: pytest.Pytester, judge: Judge) -> None:
    save_two_draws(judge)
    lose_a_column(folder, [0])
    files = ("--xattr-json=out.json", "--xattr-html=out.html", "--xattr-markdown=out.md")
    outcome = judge(CHECKS, "--xattr-compare=main", RULE, *files)
    assert outcome.ret == pytest.ExitCode.OK
    assert "not allowed by p<0.01, not confirmed by seed 1" in told(outcome)
    sentence = "1 change is not confirmed, and so not held against this run, by seed 1 (main of 20"
    outcome.stdout.fnmatch_lines([f"{sentence}*"])
    outcome.stdout.no_fnmatch_line("*so the run fails")
    for name in ("out.html", "out.md"):
        text = (folder.path / name).read_text()
        assert "not confirmed by seed 1" in text
        assert "fails the run" not in text
    comparison = json.loads((folder.path / "out.json").read_text())["comparison"]
    assert [one["confirmed"] for one in comparison["broken"]] == [False]


def test_without_another_draw_it_is_red_and_what_to_save_is_said(
    folder: pytest.Pytester, judge: Judge
) -> None:
    judge(CHECKS, "--xattr-save=main")
    lose_a_column(folder, [0])
    judge(CHECKS, "--xattr-save=main", "--xattr-seed=1")  # of what is judged: no witness
    outcome = judge(CHECKS, "--xattr-compare=main", RULE)
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    outcome.stdout.fnmatch_lines(
        ["not confirmed on another draw: *save one with --xattr-seed=1 --xattr-save=main"]
    )


@pytest.mark.parametrize("how", ["first failure", "interrupted", "interrupted again", "a fault"])
def test_what_cannot_be_judged_again_stays_red(
    how: str, folder: pytest.Pytester, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_two_draws(judge)
    lose_a_column(folder, [0])
    last = "tossed" if how == "interrupted" else "none"
    folder.makeconftest(
        "import pytest\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_setup(item):\n"
        f"    if item.name == {last!r}:\n"
        "        raise KeyboardInterrupt\n"
    )
    if how in ("interrupted again", "a fault"):
        kind = KeyboardInterrupt if how == "interrupted again" else ValueError
        monkeypatch.setattr(Battery, "by_seed", lambda self, seed: Raising(self, kind))
    options = ["-x", "--xattr-strict"] if how == "first failure" else []
    outcome = judge(CHECKS, "--xattr-compare=main", RULE, *options, no_reraise_ctrlc=True)
    interrupted = how.startswith("interrupted")
    assert outcome.ret == (pytest.ExitCode.INTERRUPTED if interrupted else pytest.ExitCode.TESTS_FAILED)
    reason = "the run ended before" if how in ("first failure", "interrupted") else "it was not judged again"
    assert reason in told(outcome)
    outcome.stdout.fnmatch_lines(["*not allowed, so the run fails"])


class Raising:
    """A battery whose check raises."""

    def __init__(self, battery: Battery, kind: type[BaseException]) -> None:
        self.cases, self.run, self.settings, self.kind = battery.cases, battery.run, battery.settings, kind

    def judge(self, *_: Any) -> None:
        raise self.kind


def test_a_run_that_compares_nothing_is_no_pass(judge: Judge) -> None:
    judge("--xattr-checks=fits", "--xattr-save=first")
    only = "--xattr-checks=follows"
    outcome = judge(only, "--xattr-compare", "--xattr-compare-fail=p<0.01")
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    outcome.stdout.fnmatch_lines(["nothing is compared: no check of a method is in both runs"])
    assert judge(only, "--xattr-compare").ret == pytest.ExitCode.OK


def test_another_seed_cannot_be_compared(judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=first")
    outcome = judge(CHECKS, "--xattr-compare", "--xattr-seed=1")
    outcome.stdout.fnmatch_lines(["  4 not comparable", "*: another seed: the runs have no draw in*"])
    assert outcome.ret == pytest.ExitCode.OK
    outcome = judge(
        CHECKS, "--xattr-compare", "--xattr-seed=1", "--xattr-compare-fail=p<0.01, any:pass->fail"
    )
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    outcome.stdout.fnmatch_lines(["p<0.01: nothing that it speaks of was compared, so the run fails"])
    outcome.stdout.no_fnmatch_line("any:pass->fail: nothing*")


def test_what_was_measured_is_saved_when_the_run_is_interrupted(
    folder: pytest.Pytester, judge: Judge
) -> None:
    folder.makeconftest(
        "import pytest\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_setup(item):\n"
        "    if item.name == 'follows':\n"
        "        raise KeyboardInterrupt\n"
    )
    judge(CHECKS, "--xattr-save", no_reraise_ctrlc=True)
    content = json.loads(saved(folder)[0].read_text())
    assert [record["check"] for record in content["results"]] == ["fits"]
    assert content["run"]["missing"] == 3


def test_settings_say_it_as_well(folder: pytest.Pytester, judge: Judge) -> None:
    (folder.path / "xattr.yaml").write_text("autosave: true\nchecks: follows\n")
    judge()
    (folder.path / "xattr.yaml").write_text("compare: ''\ncompare_fail: p<0.01\nchecks: follows\n")
    judge().stdout.fnmatch_lines(["  1 the same"])


MISTAKES = {
    ("--xattr-compare=first",): "--xattr-compare='first': no run is saved in",
    ("--xattr-compare-fail=p<0.01",): "--xattr-compare-fail: expected --xattr-compare beside it",
    ("--xattr-compare", "--xattr-compare-fail=p>1"): "--xattr-compare-fail='p>1': expected p<NUMBER",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_a_mistake_is_told_before_the_work(options: tuple[str, ...], judge: Judge) -> None:
    outcome = judge(CHECKS, *options)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines([f"ERROR: {MISTAKES[options]}*".replace("[", "[[]")])


@pytest.mark.parametrize("name", ["../up/and away", "$(touch x); <b>&'\"", "feature/maps #3"])
def test_any_name_is_saved_and_compared_with(name: str, folder: pytest.Pytester, judge: Judge) -> None:
    judge("--xattr-checks=fits", f"--xattr-save={name}")
    (path,) = saved(folder)
    assert json.loads(path.read_text())["run"]["name"] == name
    assert path.parent == folder.path / ".xattr" / "history"
    assert not (folder.path / "x").exists()
    outcome = judge("--xattr-checks=fits", f"--xattr-compare={name}", "--xattr-compare-fail=any:any->any")
    assert outcome.ret == pytest.ExitCode.OK
    assert any(line.startswith(f"with {name} of ") for line in outcome.outlines)


def test_a_partial_run_is_compared_with_and_said_to_be_one(folder: pytest.Pytester, judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=first")
    (path,) = saved(folder)
    content = json.loads(path.read_text())
    content["results"], content["run"]["missing"] = content["results"][:2], 2
    path.write_text(json.dumps(content))
    outcome = judge(CHECKS, "--xattr-compare")
    outcome.stdout.fnmatch_lines(["with first of *, interrupted, 2 results are missing", "  2 the same"])


def test_a_history_that_cannot_be_written_is_told_before_the_work(
    folder: pytest.Pytester, judge: Judge
) -> None:
    (folder.path / ".xattr").mkdir()
    (folder.path / ".xattr" / "history").write_text("")
    outcome = judge(CHECKS, "--xattr-save")
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["ERROR: --xattr-storage=*expected a file that can be written, came *"])


def test_a_disk_that_is_full_at_the_end_costs_no_verdict(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xattr_check.history.document.write", full)
    outcome = judge("--xattr-checks=fits", "--xattr-save")
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    outcome.stdout.fnmatch_lines(
        ["    fits  *pass*", "the run could not be saved: --xattr-storage=*came No space left on device*"]
    )


def test_a_damaged_file_is_named_and_the_others_are_used(folder: pytest.Pytester, judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=first")
    (saved(folder)[0].parent / "zz.json").write_text('{"version": 2, "ru')
    (saved(folder)[0].parent / "zzz.json").write_text('{"version": 9, "run": {}, "results": []}')
    outcome = judge(CHECKS, "--xattr-compare")
    assert outcome.ret == pytest.ExitCode.OK
    told = outcome.stdout.str()
    assert "zz.json: expected a saved run, came something else than JSON" in told
    assert "zzz.json: expected version 4 or older, came 9" in told
    outcome = judge(CHECKS, "--xattr-compare=.xattr/history/zzz.json")
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["ERROR: *pip install --upgrade xattr-check"])


@pytest.mark.slow
def test_workers_save_one_run(real_folder: pytest.Pytester) -> None:
    options = ("--xattr-method=mymod:good", "--xattr-subject=mymod:columns", "--xattr-checks=finite, shape")
    real_folder.runpytest_subprocess(*options, "--xattr-save=both", "-n2")
    (path,) = saved(real_folder)
    assert [one["check"] for one in json.loads(path.read_text())["results"]] == ["finite", "shape"]
