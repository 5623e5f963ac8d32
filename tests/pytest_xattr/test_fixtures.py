"""The fixtures of a user's own tests."""

import sys

import pytest

MINE = """
from mymod import flipped, good


def test_subject(xattr_subject):
    assert xattr_subject.name == "columns"


def test_good(xattr_run, xattr_subject):
    assert xattr_run.subject is xattr_subject
    verdict = xattr_run(good, "follows")
    assert verdict.status == "pass", str(verdict)
    assert verdict.method == "good"


def test_flipped(xattr_run):
    assert xattr_run(flipped, "follows").failed
    assert xattr_run("mymod:flipped", "follows?power=2").status == "pass"
"""
CALLED = """
def test_maps_are_computed_once(xattr_run):
    calls = []

    def explain(model, inputs, targets):
        calls.append(len(inputs))
        return inputs * 1.0

    first = xattr_run(explain, "promise").interval
    before = len(calls)
    assert xattr_run(explain, "follows").interval != first
    assert len(calls) == before


def test_what_a_method_raises_is_a_verdict(xattr_run):
    def explain(model, inputs, targets):
        raise ValueError("no")

    verdict = xattr_run(explain, "follows")
    assert (verdict.status, verdict.failed) == ("error", True)
"""


def test_a_method_is_judged_in_a_test(folder: pytest.Pytester) -> None:
    folder.makepyfile(test_mine=MINE + CALLED)
    (folder.path / "xattr.yaml").write_text("subject: mymod:columns\n")
    folder.runpytest_inprocess().assert_outcomes(passed=5)


def test_the_command_line_says_on_what(folder: pytest.Pytester) -> None:
    folder.makepyfile(test_mine=MINE)
    outcome = folder.runpytest_inprocess("test_mine.py", "--xattr-subject=mymod:columns", "--xattr-seed=1")
    outcome.assert_outcomes(passed=3)
    outcome.stdout.no_fnmatch_line("*= xattr-check =*")


def test_beside_a_battery_they_share_its_subject(folder: pytest.Pytester) -> None:
    folder.makepyfile(test_mine=MINE)
    options = ("--xattr-method=mymod:good", "--xattr-subject=mymod:columns", "--xattr-checks=follows")
    outcome = folder.runpytest_inprocess("test_mine.py", *options)
    outcome.assert_outcomes(passed=4)
    outcome.stdout.fnmatch_lines(["mymod:good on columns"])


@pytest.mark.parametrize(
    "option", ["--xattr-strict", "--xattr-save", "--xattr-json=out.json", "--xattr-checks=fits"]
)
def test_what_asks_for_verdicts_still_wants_a_method(option: str, folder: pytest.Pytester) -> None:
    folder.makepyfile(test_mine=MINE)
    outcome = folder.runpytest_inprocess("test_mine.py", "--xattr-subject=mymod:columns", option)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["ERROR: --xattr-method: expected at least one*"])


def test_settings_gate_there_too(folder: pytest.Pytester) -> None:
    (folder.path / "xattr.yaml").write_text(
        "subject: mymod:columns\ngates: {follows: {at_least: 2}}\n"
        "expected_failures: {good: {follows: coarse}}\n"
    )
    folder.makepyfile(
        test_mine="from mymod import good\n\n"
        "def test_good(xattr_run):\n"
        "    verdict = xattr_run(good, 'follows')\n"
        "    assert (verdict.status, verdict.gate) == ('xfail', '≥ 2')\n"
    )
    folder.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_subject_of_the_conftest_takes_its_place(folder: pytest.Pytester) -> None:
    folder.makeconftest(
        "import pytest\nimport mymod\n\n"
        "@pytest.fixture(scope='session')\n"
        "def xattr_subject():\n"
        "    return mymod.columns(8)\n"
    )
    folder.makepyfile(
        test_mine="from mymod import good\n\n"
        "def test_good(xattr_run):\n"
        "    assert xattr_run(good, 'follows').n == 8\n"
    )
    folder.runpytest_inprocess().assert_outcomes(passed=1)


MISTAKES = {
    "xattr_run(good, 'folows')": "check 'folows': no check or family 'folows'; the nearest are follows",
    "xattr_run(good, 'sanity')": "check 'sanity': expected one check, came 2; ask for one at a time",
    "xattr_run('mymod:god', 'fits')": "mymod has no attribute 'god'; the nearest are good",
    "xattr_run(3, 'fits')": "expected a function explain(model, inputs, targets)",
}


@pytest.mark.parametrize("call", MISTAKES)
def test_a_mistake_in_a_test_is_told(call: str, folder: pytest.Pytester) -> None:
    (folder.path / "xattr.yaml").write_text("subject: mymod:columns\n")
    folder.makepyfile(test_mine=f"from mymod import good\n\ndef test_good(xattr_run):\n    {call}\n")
    outcome = folder.runpytest_inprocess()
    outcome.assert_outcomes(failed=1)
    assert MISTAKES[call] in outcome.stdout.str()


def test_a_mistake_in_the_settings_is_told_by_the_fixture(folder: pytest.Pytester) -> None:
    (folder.path / "xattr.yaml").write_text("seed: 1\nsubject: mymod:few_targets\n")
    folder.makepyfile(test_mine="def test_subject(xattr_subject):\n    raise AssertionError\n")
    outcome = folder.runpytest_inprocess()
    outcome.assert_outcomes(errors=1)
    outcome.stdout.fnmatch_lines(["subject 'short': expected targets (4,), one for each input, came (3,)"])


def test_nothing_is_imported_for_tests_that_do_not_ask(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_mine="import sys\n\n"
        "def test_plain():\n"
        "    assert not {'torch', 'xattr_check'} & set(sys.modules)\n"
    )
    outcome = pytester.runpytest_subprocess("-p", "no:hypothesispytest")
    outcome.assert_outcomes(passed=1)
    assert sys.modules["torch"]


@pytest.mark.slow
def test_workers_have_their_own(real_folder: pytest.Pytester) -> None:
    (real_folder.path / "xattr.yaml").write_text("subject: mymod:columns\n")
    real_folder.makepyfile(
        test_mine="import pytest\nfrom mymod import good\n\n"
        "@pytest.mark.parametrize('n', range(4))\n"
        "def test_good(xattr_run, n):\n"
        "    assert xattr_run(good, 'finite').status == 'pass'\n"
    )
    real_folder.runpytest_subprocess("-n2").assert_outcomes(passed=4)
