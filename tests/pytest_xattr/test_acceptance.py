"""What fails today is accepted: written into xattr.yaml, and red again where it gets worse or passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_xattr import acceptance

Run = Callable[..., pytest.RunResult]
BASIC = "--xattr-checks=fits or follows"
ACCEPT = "--xattr-accept"
# How far maps point where the gradient does, 0.5 being enough: what `mixed` makes of it.
OWN = """
import torch
from mymod import gradient


def mixed(model, inputs, targets, share=0.2):
    along = torch.nn.functional.normalize(gradient(model, inputs, targets), dim=1)
    aside = torch.nn.functional.normalize(inputs - (inputs * along).sum(1, keepdim=True) * along, dim=1)
    return share * along + (1 - share**2) ** 0.5 * aside
"""


@pytest.fixture
def accept(folder: pytest.Pytester, judge: Run) -> Run:
    """Run it on own:mixed of a share, which is written into the module."""

    def run(share: float, *arguments: str, **options: Any) -> pytest.RunResult:
        folder.makepyfile(own=OWN.replace("share=0.2", f"share={share}"))
        return judge(*arguments, method="own:mixed", **options)

    return run


def read(folder: pytest.Pytester, name: str = "xattr.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder.path / name).read_text())
    return found


def test_what_fails_is_written_down_and_expected_from_then_on(folder: pytest.Pytester, accept: Run) -> None:
    outcome = accept(0.2, BASIC, ACCEPT)
    outcome.assert_outcomes(passed=1, xfailed=1)
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.fnmatch_lines(
        [
            "*= xattr-check: accepted =*",
            "1 failure is accepted in xattr.yaml:",
            "    own:mixed on columns: follows",
            "no reason given for it: say it in xattr.yaml, at `reason`",
            "from the next run on only what gets worse fails",
        ],
        consecutive=True,
    )
    found = read(folder)
    entry = found["expected_failures"]["own:mixed"]["follows"]
    assert found == {
        "methods": ["own:mixed"],
        "subjects": ["mymod:columns"],
        "expected_failures": {"own:mixed": {"follows": entry}},
    }
    assert entry["sentence"] == "0.200 mean cosine with the gradient (gate ≥ 0.5)"
    assert (entry["reason"], entry["interval"]) == ("", [0.2, 0.2])
    again = folder.runpytest_inprocess(BASIC)  # of what the file says
    again.assert_outcomes(passed=1, xfailed=1)
    again.stdout.fnmatch_lines(["*expected: no reason given"])


def test_what_gets_worse_fails_and_what_passes_asks_to_be_removed(
    folder: pytest.Pytester, accept: Run
) -> None:
    accept(0.2, BASIC, ACCEPT)
    file = folder.path / "xattr.yaml"
    file.write_text(f"# ours\n{file.read_text()}".replace("reason: ''", "reason: it is coarse  # see #7"))
    accept(0.195, BASIC).assert_outcomes(passed=1, xfailed=1)  # by no more than another seed may
    accept(0.3, BASIC).assert_outcomes(passed=1, xfailed=1)
    worse = accept(0.1, BASIC)
    worse.assert_outcomes(passed=1, failed=1)
    worse.stdout.fnmatch_lines(
        ["follows: 0.100 *; worse than the 0.2 that was accepted (it is coarse): --xattr-accept *"]
    )
    renewed = accept(0.1, BASIC, ACCEPT)
    renewed.assert_outcomes(passed=1, xfailed=1)
    renewed.stdout.fnmatch_lines(
        ["1 failure that got worse is accepted anew in xattr.yaml:", "    own:mixed on columns: follows"]
    )
    renewed.stdout.no_fnmatch_line("no reason given*")
    assert read(folder)["expected_failures"]["own:mixed"]["follows"]["interval"] == [0.1, 0.1]
    assert file.read_text().startswith("# ours\n")
    assert "reason: it is coarse  # see #7\n" in file.read_text()
    text = file.read_text()
    nothing = accept(0.3, BASIC, ACCEPT)
    nothing.stdout.fnmatch_lines(["nothing to accept: no check fails that is not expected to"])
    assert file.read_text() == text, "what is no worse is left as it was"
    passing = accept(0.9, BASIC)
    passing.assert_outcomes(passed=1, failed=1)
    passing.stdout.fnmatch_lines(["*: remove it from expected_failures, by hand or with --xattr-accept"])
    removed = accept(0.9, BASIC, ACCEPT)
    removed.assert_outcomes(passed=2)
    removed.stdout.fnmatch_lines(["1 check passes now, and is removed from xattr.yaml:"])
    assert file.read_text() == "# ours\nmethods: ['own:mixed']\nsubjects: ['mymod:columns']\n"


def test_another_seed_and_budget_are_no_excuse_to_fail(accept: Run) -> None:
    accept(0.2, BASIC, ACCEPT)
    for options in (["--xattr-seed=1"], ["--xattr-seed=2", "--xattr-budget=standard"]):
        accept(0.2, BASIC, *options).assert_outcomes(passed=1, xfailed=1)


def test_a_failure_that_is_not_in_the_list_stays_red(accept: Run) -> None:
    accept(0.2, "--xattr-checks=fits", ACCEPT)
    accept(0.2, BASIC).assert_outcomes(passed=1, failed=1)


def test_what_raises_on_every_call_is_accepted_whole(folder: pytest.Pytester, judge: Run) -> None:
    """Where it is not accepted, one check tells of it and the others are not applicable."""
    judge(BASIC, ACCEPT, method="mymod:always").assert_outcomes(xfailed=2)
    entry = read(folder)["expected_failures"]["mymod:always"]["follows"]
    assert entry.keys() == {"reason", "sentence", "accepted"}
    assert entry["sentence"].startswith("raised ValueError: cannot explain anything (mymod.py:")
    judge(BASIC, method="mymod:always").assert_outcomes(xfailed=2)


def test_what_gave_figures_and_raises_is_worse(folder: pytest.Pytester, accept: Run, judge: Run) -> None:
    accept(0.2, BASIC, ACCEPT)
    folder.makepyfile(own="def mixed(model, inputs, targets):\n    raise ValueError('no')\n")
    outcome = judge("--xattr-checks=follows", method="own:mixed")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["follows: raised ValueError: no *; 0.2 was accepted, and now *"])


def test_no_verdict_and_a_check_of_its_own_fault_are_not_accepted(
    folder: pytest.Pytester, judge: Run
) -> None:
    outcome = judge("--xattr-checks=faulty, tossed", "--xattr-budget=standard", "--xattr-strict", ACCEPT)
    outcome.assert_outcomes(failed=2)
    outcome.stdout.fnmatch_lines(["nothing to accept: *"])
    assert not (folder.path / "xattr.yaml").exists()
    judge("--xattr-checks=promise", ACCEPT).assert_outcomes(passed=1)  # nor what is not claimed
    assert not (folder.path / "xattr.yaml").exists()


SEVERAL = "methods: [own:mixed]\nsubjects:\n  # two\n  - mymod:columns\n  - mymod:fewer\n"


def test_of_several_subjects_each_has_its_own(folder: pytest.Pytester, accept: Run) -> None:
    file = folder.path / "xattr.yaml"
    file.write_text(SEVERAL.replace("  # two\n", ""))
    folder.makepyfile(own=OWN)
    folder.runpytest_inprocess(BASIC, ACCEPT).assert_outcomes(passed=2, xfailed=2)
    found = read(folder)["subjects"]
    assert list(found) == ["mymod:columns", "mymod:fewer"]
    assert list(found["mymod:fewer"]["expected_failures"]["own:mixed"]) == ["follows"]
    accept(0.9, BASIC, ACCEPT).assert_outcomes(passed=2)  # on columns alone
    assert read(folder)["subjects"]["mymod:columns"] == {}
    folder.runpytest_inprocess(BASIC).assert_outcomes(passed=3, failed=1)
    file.write_text(SEVERAL.replace("  - mymod:c", "  - mymod:c", 1).replace("columns\n", "columns  # one\n"))
    folder.makepyfile(own=OWN)
    lost = folder.runpytest_inprocess(BASIC, ACCEPT)
    assert lost.ret == pytest.ExitCode.TESTS_FAILED
    lost.stdout.fnmatch_lines(["nothing is accepted: *xattr.yaml:4: a comment would be lost; write it as *"])


def test_a_check_with_parameters_has_an_entry_of_its_own(folder: pytest.Pytester, accept: Run) -> None:
    accept(0.2, "--xattr-checks=follows?power=3", ACCEPT).assert_outcomes(xfailed=1)
    assert list(read(folder)["expected_failures"]["own:mixed"]) == ["follows?power=3"]
    accept(0.2, "--xattr-checks=fits").assert_outcomes(passed=1)  # where that one is not judged
    accept(0.1, "--xattr-checks=follows?power=3").assert_outcomes(failed=1)


def test_the_file_that_is_named_need_not_be_there(folder: pytest.Pytester, accept: Run) -> None:
    accept(0.2, BASIC, ACCEPT, "--xattr-gates=new/own.yaml").assert_outcomes(passed=1, xfailed=1)
    assert list(read(folder, "new/own.yaml")["expected_failures"]) == ["own:mixed"]
    missing = accept(0.2, BASIC, "--xattr-gates=other.yaml")
    assert missing.ret == pytest.ExitCode.USAGE_ERROR


def test_what_is_expected_of_all_methods_is_removed_by_hand(folder: pytest.Pytester, accept: Run) -> None:
    text = "expected_failures:\n  follows: it is coarse\n"
    (folder.path / "xattr.yaml").write_text(text)
    outcome = accept(0.9, BASIC, ACCEPT)
    outcome.assert_outcomes(passed=1, failed=1)
    outcome.stdout.fnmatch_lines(["*; it is expected of others too: remove it by hand"])
    assert (folder.path / "xattr.yaml").read_text() == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "methods: [mymod:good]\n",
            "--xattr-accept: method 'own:mixed' is not among the methods of {path}; add it there first",
        ),
        (
            "subjects: [mymod:fewer]\n",
            "--xattr-accept: subject 'mymod:columns' is not among the subjects of {path}; add it there first",
        ),
        ("methods: [\n", "{path}:2: not YAML: *"),
    ],
)
def test_mistakes_are_told_before_anything_is_judged(
    text: str, told: str, folder: pytest.Pytester, accept: Run
) -> None:
    path = folder.path / "xattr.yaml"
    path.write_text(text)
    outcome = accept(0.2, BASIC, ACCEPT)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines([f"ERROR: {told.format(path=path)}"])
    assert path.read_text() == text


def test_a_file_that_cannot_be_written_is_told_at_once(
    folder: pytest.Pytester, accept: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "xattr.yaml").write_text("seed: 0\n")
    usual = Path.open

    def refuse(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if path.name == "xattr.yaml" and "+" in mode:
            raise PermissionError(13, "Permission denied")
        return usual(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    outcome = accept(0.2, BASIC, ACCEPT)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(
        ["ERROR: --xattr-accept='*xattr.yaml': expected a file that can be written, came Permission denied"]
    )


def test_a_run_that_was_interrupted_accepts_nothing(folder: pytest.Pytester, accept: Run) -> None:
    folder.makeconftest(
        "def pytest_runtest_setup(item):\n    if item.name == 'follows':\n        raise KeyboardInterrupt\n"
    )
    outcome = accept(0.2, BASIC, ACCEPT, no_reraise_ctrlc=True)
    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    outcome.stdout.fnmatch_lines(["the run ended before: nothing is accepted"])
    assert not (folder.path / "xattr.yaml").exists()


def test_workers_accept_and_the_controller_writes_once(real_folder: pytest.Pytester) -> None:
    chosen = (
        "--xattr-method=mymod:always",
        "--xattr-subject=mymod:columns",
        "--xattr-checks=shape, finite",
    )
    outcome = real_folder.runpytest_subprocess("-n2", *chosen, ACCEPT)
    outcome.assert_outcomes(xfailed=2)
    found = read(real_folder)["expected_failures"]["mymod:always"]
    assert list(found) == ["finite", "shape"]
    real_folder.runpytest_inprocess(*chosen).assert_outcomes(xfailed=2)


def test_every_kind_of_change_has_its_words() -> None:
    from typing import get_args

    from xattr_check.battery.acceptance import Kind

    assert set(acceptance.TOLD) == {*get_args(Kind)}
