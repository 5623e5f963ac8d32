"""Reports and summaries that a battery leaves behind."""

import sys
from pathlib import Path
from typing import Any

import pytest

Judge = Any
CHECKS = "--xattr-checks=fits, follows, promise, tossed"
FLIPPED = "mymod:flipped"


def test_a_report_and_a_summary_are_written(folder: pytest.Pytester, judge: Judge) -> None:
    outcome = judge(CHECKS, "--xattr-html=out/report.html", "--xattr-markdown=out/c.md", method=FLIPPED)
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    page, text = (folder.path / "out" / name for name in ("report.html", "c.md"))
    outcome.stdout.fnmatch_lines([f"summary written to {text}", f"report: {page.as_uri()}"])
    assert "fails 1 of 2 required checks" in page.read_text()
    assert "## xattr-check: 1 of 2 checks fail" in text.read_text()


@pytest.mark.slow
def test_the_report_of_two_workers_is_the_same(real_folder: pytest.Pytester) -> None:
    battery = (
        "--xattr-method=mymod:misshapen",
        "--xattr-subject=mymod:columns",
        "--xattr-checks=shape, finite",
    )
    real_folder.runpytest_inprocess(*battery, "--xattr-html=one.html")
    real_folder.runpytest_subprocess(*battery, "--xattr-html=two.html", "-n2", "-p", "xdist")
    pages = [(real_folder.path / f"{name}.html").read_text() for name in ("one", "two")]
    assert "fails 1 of 2 required checks" in pages[0]
    one, two = (
        [line for line in page.splitlines() if "<dt>Started" not in line and "units in" not in line]
        for page in pages
    )
    assert one == two


def test_keys_of_xattr_yaml_are_meant_from_its_folder(folder: pytest.Pytester, judge: Judge) -> None:
    folder.makefile(".yaml", xattr="html: r.html\nmarkdown: c.md\n")
    folder.makeini("[pytest]")
    judge(CHECKS)
    assert {"r.html", "c.md"} <= {path.name for path in folder.path.iterdir()}


def test_a_damaged_run_is_named_and_costs_nothing_else(folder: pytest.Pytester, judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=first")
    bad = folder.path / ".xattr" / "history" / "bad.json"
    bad.write_text("{")
    outcome = judge(CHECKS, "--xattr-html=r.html", "-Werror")
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.fnmatch_lines([f"{bad}: expected a saved run, *it is left out"])


def test_an_item_of_another_method_than_the_file_names(folder: pytest.Pytester, judge: Judge) -> None:
    folder.makefile(".yaml", xattr="methods: [mymod:flipped]\n")
    folder.makeini("[pytest]")
    outcome = judge("xattr::mymod:good::fits", method=None)
    outcome.assert_outcomes(passed=1)


def test_what_was_not_chosen_is_not_missing(folder: pytest.Pytester, judge: Judge) -> None:
    outcome = judge(CHECKS, "-k", "fits", "--xattr-markdown=c.md")
    outcome.stdout.no_fnmatch_line("* missing: the run*")
    outcome = judge(CHECKS, "-x", "--xattr-markdown=c.md", "--xattr-html=r.html", method=FLIPPED)
    outcome.stdout.fnmatch_lines(["* missing: the run ended before"])
    assert "The run was interrupted: " in (folder.path / "c.md").read_text()
    assert "required checks, interrupted" in (folder.path / "r.html").read_text()


def test_a_file_names_what_is_beside_it(
    folder: pytest.Pytester, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.makefile(".yaml", xattr="methods: [beside:good]\n")
    folder.makeini("[pytest]")
    folder.makepyfile(beside="from mymod import good")
    (folder.path / "sub").mkdir()
    monkeypatch.chdir(folder.path / "sub")
    monkeypatch.setattr("sys.path", [one for one in sys.path if one not in ("", str(folder.path))])
    outcome = folder.runpytest_inprocess("--xattr-subject=mymod:columns", "--xattr-checks=fits")
    outcome.assert_outcomes(passed=1)


def test_no_summary_is_none(judge: Judge) -> None:
    judge(CHECKS, "--no-summary").stdout.no_fnmatch_line("*= xattr-check =*")


@pytest.mark.parametrize("name", ["html", "markdown"])
def test_what_cannot_be_written_is_told_before_anything_is_judged(name: str, judge: Judge) -> None:
    outcome = judge(CHECKS, f"--xattr-{name}=/dev/null/report")
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines([f"*--xattr-{name}='/dev/null/report': expected a file*"])


def test_a_comparison_is_in_both(folder: pytest.Pytester, judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=first")
    judge(CHECKS, "--xattr-compare=first", "--xattr-html=r.html", "--xattr-markdown=c.md")
    assert "Compared with first of" in (folder.path / "r.html").read_text()
    assert "### Compared with first of" in (folder.path / "c.md").read_text()


def test_earlier_runs_are_trends(folder: pytest.Pytester, judge: Judge) -> None:
    judge(CHECKS, "--xattr-save=first")
    judge(CHECKS, "--xattr-html=r.html")
    assert "Saved runs on the same subject" in (folder.path / "r.html").read_text()


def test_the_command_reads_what_was_saved(
    folder: pytest.Pytester, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    from xattr_check.cli.main import main

    judge(CHECKS, "--xattr-save=first", method=FLIPPED)
    folder.chdir()
    capsys.readouterr()
    assert main(["report", "first", "-o", "r.html"]) == 0
    assert capsys.readouterr().out == f"report: {(Path.cwd() / 'r.html').as_uri()}\n"
    assert "fails 1 of 2 required checks" in Path("r.html").read_text()
    assert main(["history", "--check", "follows"]) == 0
    assert "    mymod:flipped on columns: FAIL -1.000" in capsys.readouterr().out
    assert main(["leaderboard", "--from", "first"]) == 0
    assert "mymod:flipped                      fails 1 of 2" in capsys.readouterr().out
