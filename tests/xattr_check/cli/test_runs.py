"""Commands on saved runs: what they print, and what they say of mistakes."""

import fnmatch
from dataclasses import replace
from pathlib import Path

import pytest

from xattr_check.cli import runs as cli_runs
from xattr_check.cli.main import main
from xattr_check.core.verdict import Verdict
from xattr_check.history import document
from xattr_check.history import saved as history
from xattr_check.statistics.intervals import Interval

RUN = {"started": "2026-01-02T03:04:05+00:00", "seed": 0, "budget": "quick", "device": "cpu", "versions": {}}


def verdict(method: str, check: str = "deletion", status: str = "pass") -> Verdict:
    found = Interval(0.5, 0.4, 0.6)
    return Verdict(method, "digits", check, "faithfulness", status, f"{check}: it", "≤ 1", found)  # type: ignore[arg-type]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two saved runs in the usual folder of the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, methods in (("first", ["mymod:explain"]), ("a name of <b>", ["mymod:explain", "xattr:rise"])):
        results = [
            verdict(method, status="fail" if method[0] == "x" else "pass").record() for method in methods
        ]
        history.save(
            Path(".xattr"), {"version": document.VERSION, "run": {**RUN, "name": name}, "results": results}
        )
    return tmp_path / ".xattr"


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(list(arguments)) == code
    found = capsys.readouterr()
    return found.out if code == 0 else found.err


@pytest.mark.usefixtures("storage")
def test_history_has_a_line_for_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "history").splitlines()
    assert lines == [
        "2026-01-02 03:04  a name of <b>                  2 methods: 1 pass, 1 fail",
        "2026-01-02 03:04  first                          1 method: 1 pass",
    ]
    lines = told(capsys, "history", "--method=xattr:rise", "--check=deletion").splitlines()
    assert lines == [
        "2026-01-02 03:04  a name of <b>                  seed 0",
        "    xattr:rise on digits: FAIL 0.500 [0.400, 0.600]",
    ]


def test_history_of_one_subject(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of runs on several subjects its own figures alone, in lines and in trends."""
    other = replace(verdict("mymod:explain"), subject="columns", interval=Interval(0.9, 0.8, 1.0))
    results = [verdict("mymod:explain").record(), other.record()]
    run = {**RUN, "name": "both", "started": "2026-02-02T03:04:05+00:00"}
    history.save(storage, {"version": document.VERSION, "run": run, "results": results})
    found = told(capsys, "history", "--subject=columns", "--check=deletion", "--html=trends.html")
    assert found.splitlines()[:2] == [
        "2026-02-02 03:04  both                           seed 0",
        "    mymod:explain on columns: pass 0.900 [0.800, 1.000]",
    ]
    assert "report: file:" in found.splitlines()[2]
    assert len(told(capsys, "history", "--subject=digits").splitlines()) == 3
    assert "in no saved run" in told(capsys, "history", "--subject=column", code=2)
    sentence = told(capsys, "history", "--subject=columns", "--method=xattr:rise", code=2)
    assert "no saved run has a verdict of method 'xattr:rise' and subject 'columns'" in sentence


@pytest.mark.usefixtures("storage")
def test_the_last_run_is_reported_where_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "report").startswith("report: file:///")
    assert "<h3>first of 2026-01-02 03:04</h3>" in Path("report.html").read_text()
    told(capsys, "report", "a name of <b>", "first", "-o", "both.html")
    assert "mymod:explain (first of 2026-01-02 03:04)" in Path("both.html").read_text()


@pytest.mark.usefixtures("storage")
def test_trends_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert "trends.html" in told(capsys, "history", "--html=trends.html")
    assert "2 saved runs" in Path("trends.html").read_text()


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "frist"], "report 'frist': expected the name of a saved run*nearest are first"),
        (["report", "-o", "/dev/null/r"], "--output='/dev/null/r': expected a file that can be written*"),
        (["history", "--check=deletoin"], "--check='deletoin': in no saved run; the nearest are deletion"),
        (["history", "--method=mymod"], "--method='mymod': in no saved run*"),
        (["leaderboard", "--from=x"], "--from='x': expected the name of a saved run*"),
        (["leaderboard", "--html=/dev/null/r"], "--html='/dev/null/r': expected a file*"),
        (["report", "--storage=nowhere"], "report: no run is saved in nowhere/history yet*"),
        (["history", "--storage=nowhere"], "history: no run is saved in nowhere/history yet*"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = told(capsys, *arguments, code=2)
    assert len(error.splitlines()) == 1
    assert fnmatch.fnmatchcase(error.strip(), f"xattr-check: {message}".replace("[", "[[]"))


def test_storage_of_xattr_yaml_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("xattr.yaml").write_text("storage: kept\n")
    results = [verdict("mymod:explain").record()]
    history.save(
        Path("kept"), {"version": document.VERSION, "run": {**RUN, "name": "one"}, "results": results}
    )
    assert "one" in told(capsys, "history")


@pytest.mark.usefixtures("storage")
def test_the_leaderboard_asks_pytest_and_ranks_what_it_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def call(command: list[str]) -> int:
        asked.append(command)
        results = [verdict("xattr:rise", status="fail").record(), verdict("xattr:lime").record()]
        run = {**RUN, "name": cli_runs.LEADERBOARD}
        history.save(Path(".xattr"), {"version": document.VERSION, "run": run, "results": results})
        return 1

    monkeypatch.setattr(cli_runs.subprocess, "call", call)
    subjects = ("--subject=analytic", "--subject=digits")
    text = told(capsys, "leaderboard", "--method=mymod:explain", *subjects, "-n", "2")
    assert text.index("xattr:lime") < text.index("xattr:rise")
    (command,) = asked
    assert {"--xattr-method=all", "--xattr-method=mymod:explain"} <= set(command)
    assert {"--xattr-subject=analytic", "--xattr-subject=digits"} <= set(command)


def test_the_leaderboard_fails_as_pytest_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_runs.subprocess, "call", lambda command: 4)
    assert main(["leaderboard"]) == 4
