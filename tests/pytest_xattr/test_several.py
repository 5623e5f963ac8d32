"""Several subjects in one run: node ids, tables, files, comparisons and fixtures tell them apart."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from xattr_check import run_battery
from xattr_check.config.settings import Settings, Terms
from xattr_check.errors import UsageError
from xattr_check.statistics.gate import AtLeast

Run = Callable[..., pytest.RunResult]
BASIC = "--xattr-checks=fits or follows"
FEWER = "--xattr-subject=mymod:fewer"


def collected(outcome: pytest.RunResult) -> list[str]:
    return [line.split(" <- ")[0] for line in outcome.outlines if line.startswith("xattr::")]


def read(folder: pytest.Pytester, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder.path / name).read_text())
    return found


def test_each_has_its_items_and_its_table(folder: pytest.Pytester, judge: Run) -> None:
    outcome = judge(BASIC, FEWER, "--xattr-json=out.json", "--junitxml=out.xml", method="mymod:flipped")
    outcome.assert_outcomes(passed=2, failed=2)
    outcome.stdout.fnmatch_lines(
        [
            "xattr: mymod:flipped on mymod:columns, mymod:fewer, 2 checks",
            "*follows of mymod:flipped on mymod:columns*",
            "mymod:flipped on columns",
            "mymod:flipped on fewer",
            "FAILED xattr::mymod:columns::mymod:flipped::follows - follows: *",
            "FAILED xattr::mymod:fewer::mymod:flipped::follows - follows: *",
        ]
    )
    found = read(folder, "out.json")
    assert [(one["subject"], one["check"]) for one in found["results"]] == [
        *(("columns", "fits"), ("columns", "follows"), ("fewer", "fits"), ("fewer", "follows"))
    ]
    assert found["run"]["subjects"] == {"columns": "mymod:columns", "fewer": "mymod:fewer"}
    assert "subject" not in found["run"]["options"]
    assert 'classname="xattr.mymod:fewer.mymod:flipped" name="fits"' in (folder.path / "out.xml").read_text()


COLUMNS_FITS = "xattr::mymod:columns::mymod:good::fits"
FEWER_FITS = "xattr::mymod:fewer::mymod:good::fits"


def test_items_are_chosen_as_in_any_run(folder: pytest.Pytester, judge: Run) -> None:
    """By node ids of any depth, alone or beside options, and by -k: what is chosen, for each way."""
    alone = "--xattr-checks=fits"
    ways: dict[tuple[str, ...], list[str]] = {
        (alone, FEWER, "-kfewer"): [FEWER_FITS],
        (alone, FEWER, "xattr::mymod:fewer"): [FEWER_FITS],
        (alone, FEWER, "xattr::mymod:good"): [COLUMNS_FITS, FEWER_FITS],
        (alone, FEWER, "xattr::mymod:fewer::mymod:good"): [FEWER_FITS],
        (FEWER, "xattr::mymod:good::fits"): [COLUMNS_FITS, FEWER_FITS],
        (FEWER, FEWER_FITS): [FEWER_FITS],
        (FEWER, FEWER_FITS, "xattr::mymod:columns::mymod:good::fits"): [FEWER_FITS, COLUMNS_FITS],
        # One subject alone keeps its ids as they always were.
        (alone,): ["xattr::mymod:good::fits"],
    }
    found = {way: collected(judge(*way, "--collect-only", "-q")) for way in ways}
    assert found == ways
    by_itself = folder.runpytest_inprocess(FEWER_FITS, "--collect-only", "-q")
    assert collected(by_itself) == [FEWER_FITS]
    missing = judge(FEWER, "xattr::mymod:fewer::mymod:good::fit")
    assert missing.ret == pytest.ExitCode.USAGE_ERROR
    missing.stderr.fnmatch_lines([f"ERROR: not found: {FEWER_FITS[:-1]}; the nearest are {FEWER_FITS}*"])


def test_what_failed_last_is_run_again(judge: Run) -> None:
    judge(BASIC, FEWER, "-pcacheprovider", method="mymod:flipped")
    outcome = judge(BASIC, FEWER, "--lf", "--collect-only", "-q", method="mymod:flipped")
    assert collected(outcome) == [
        f"xattr::mymod:{subject}::mymod:flipped::follows" for subject in ("columns", "fewer")
    ]


@pytest.mark.slow
def test_workers_find_the_same(real_folder: pytest.Pytester) -> None:
    chosen = ("--xattr-method=mymod:good", "--xattr-subject=mymod:columns", FEWER, "--xattr-json=out.json")
    chosen = (*chosen, "--xattr-checks=finite, shape")
    real_folder.runpytest_inprocess(*chosen).assert_outcomes(passed=4)
    alone = read(real_folder, "out.json")
    real_folder.runpytest_subprocess("-n2", *chosen).assert_outcomes(passed=4)
    shared = read(real_folder, "out.json")
    assert [one | {"seconds": 0} for one in alone["results"]] == [
        one | {"seconds": 0} for one in shared["results"]
    ]
    assert alone["run"]["subjects"] == shared["run"]["subjects"]


TERMS = """
methods: [mymod:flipped]
checks: follows, promise
subjects:
  mymod:columns:
    gates: {promise: {at_most: 9}}
  mymod:fewer:
    claims: [promise]
    expected_failures:
      mymod:flipped: {follows: it is turned round}
"""


def test_what_is_held_on_one_subject_is_its_own(folder: pytest.Pytester) -> None:
    (folder.path / "xattr.yaml").write_text(TERMS)
    outcome = folder.runpytest_inprocess("--xattr-json=out.json")
    outcome.assert_outcomes(passed=1, failed=2, xfailed=1)
    found = {(one["subject"], one["check"]): one for one in read(folder, "out.json")["results"]}
    statuses = {key: (one["status"], one["required"]) for key, one in found.items()}
    assert statuses == {
        ("columns", "follows"): ("fail", True),
        ("columns", "promise"): ("pass", False),
        ("fewer", "follows"): ("xfail", True),
        ("fewer", "promise"): ("fail", True),
    }


def test_what_is_said_of_a_subject_that_is_not_judged_on_has_to_be_of_one(
    folder: pytest.Pytester, judge: Run
) -> None:
    (folder.path / "xattr.yaml").write_text(
        "subjects:\n  mymod:other:\n  analytic:\n  analytc: {claims: []}\n"
    )
    outcome = judge(BASIC)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(
        ["ERROR: *xattr.yaml:4: subjects: no subject 'analytc'; the nearest are analytic"]
    )


def test_a_subject_is_made_once_and_let_go_of_in_turn(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        counted="import mymod, weakref\n"
        "made, alive = [], {}\n"
        "def make(name):\n"
        "    found = mymod.columns(32)\n"
        "    found = mymod.Subject(name, found.model, found.inputs, found.targets)\n"
        "    made.append(name)\n"
        "    alive[name] = weakref.ref(found.model)\n"
        "    return found\n"
        "def one(): return make('one')\n"
        "def two(): return make('two')\n"
        "def explain(model, inputs, targets):\n"
        "    return mymod.good(model, inputs, targets)\n"
    )
    folder.makeconftest(
        "import gc, pytest\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_setup(item):\n"
        "    import counted\n"
        "    gc.collect()\n"
        "    there = sorted(name for name, one in counted.alive.items() if one() is not None)\n"
        "    print(item.nodeid, 'made', counted.made, 'there', there)\n"
    )
    options = ("--xattr-subject=counted:one", "--xattr-subject=counted:two", "-s", BASIC)
    outcome = folder.runpytest_inprocess("--xattr-method=counted:explain", *options)
    outcome.assert_outcomes(passed=4)
    found = re.findall(r"xattr::counted:(\w+)::\S+ made (\[.*\]) there (\[.*\])", outcome.stdout.str())
    both, last = "['one', 'two']", "['two']"
    assert found == [("one", both, both)] * 2 + [("two", both, last)] * 2


def test_a_run_of_one_is_compared_with_its_part_of_a_run_of_several(
    folder: pytest.Pytester, judge: Run
) -> None:
    """And the other way round; a run on more of the subjects is preferred to a later one on fewer."""
    judge(BASIC, "--xattr-save=one")
    both = judge(BASIC, FEWER, "--xattr-save=both", "--xattr-compare")
    both.stdout.fnmatch_lines(["with one of *", "  mymod:good", "  2 the same"])
    both.stdout.no_fnmatch_line("*another subject*")
    judge(BASIC, "--xattr-save=later")
    judge(BASIC, FEWER, "--xattr-compare").stdout.fnmatch_lines(
        ["with both of *", "  mymod:good on columns", "  2 the same", "  mymod:good on fewer", "  2 the same"]
    )
    other = judge(FEWER, BASIC, "--xattr-compare", method="mymod:flipped")
    other.stdout.fnmatch_lines(["nothing is compared: no check of a method is in both runs"])


def test_a_broken_rule_tells_on_which_subject(folder: pytest.Pytester, judge: Run) -> None:
    judge(BASIC, FEWER, "--xattr-save=both")
    (folder.path / "xattr.yaml").write_text("subjects: {mymod:fewer: {gates: {follows: {at_least: 2}}}}")
    outcome = judge(
        BASIC, FEWER, "--xattr-compare", "--xattr-compare-fail=any:pass->fail", "--xattr-json=out.json",
        "--xattr-markdown=out.md", "--xattr-html=out.html",
    )  # fmt: skip
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    broken = read(folder, "out.json")["comparison"]["broken"]
    assert [(one["subject"], one["method"], one["check"]) for one in broken] == [
        ("fewer", "mymod:good", "follows")
    ]
    assert "| mymod:good on fewer | follows | pass → FAIL |" in (folder.path / "out.md").read_text()
    page = (folder.path / "out.html").read_text()
    anchors = re.findall(r' id="([cv]-[^"]*)"', page)
    assert len(anchors) == len(set(anchors)) == 8
    assert set(re.findall(r'href="#([cv]-[^"]*)"', page)) <= set(anchors)
    assert re.search(r"worse</span> than both of [^:]*:\d\d[^:]*: <a [^>]*>follows on fewer</a>", page)
    assert "pytest xattr::mymod:good::follows --xattr-subject=mymod:fewer" in page


MINE = """
from mymod import good


def test_subject(xattr_subject):
    assert xattr_subject.name in ("columns", "fewer")


def test_good(xattr_run):
    assert (xattr_run(good, "follows").status == "pass") == (xattr_run.subject.name == "columns")


def test_neither():
    pass
"""
ON_FEWER = "subjects:\n  mymod:columns:\n  mymod:fewer: {gates: {follows: {at_least: 2}}}\n"


def test_a_test_that_asks_for_the_subject_runs_once_for_each(folder: pytest.Pytester) -> None:
    folder.makepyfile(test_mine=MINE)
    (folder.path / "xattr.yaml").write_text(ON_FEWER)
    outcome = folder.runpytest_inprocess("-v")
    outcome.assert_outcomes(passed=5)
    outcome.stdout.fnmatch_lines(["test_mine.py::test_subject[[]mymod:fewer[]] PASSED*"])
    # Beside a battery they share its subjects; one that the conftest makes is the only one.
    folder.runpytest_inprocess("test_mine.py", "--xattr-method=mymod:good", BASIC).assert_outcomes(
        passed=8, failed=1
    )
    folder.makeconftest(
        "import mymod, pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def xattr_subject(): return mymod.columns()\n"
    )
    folder.runpytest_inprocess().assert_outcomes(passed=3)


def test_in_python_they_are_a_list(folder: pytest.Pytester) -> None:
    folder.syspathinsert()
    import mymod  # type: ignore[import-not-found]

    settings = Settings(by_subject={"mymod:fewer": Terms(gates={"follows": AtLeast(2)})})
    subjects = [mymod.columns(), "mymod:fewer"]
    found = run_battery("mymod:good", subjects=subjects, checks="follows", settings=settings)
    assert [(one.subject, one.status) for one in found] == [("columns", "pass"), ("fewer", "fail")]
    assert found["fewer", "mymod:good", "follows"].failed
    for wrong, told in (
        (
            {"subject": "digits", "subjects": ["digits"]},
            "subjects: expected either subject or subjects, came",
        ),
        ({"subjects": "digits"}, "subjects: expected a list of subjects, came str"),
        (
            {"subjects": [mymod.columns, mymod.columns]},
            "a name of its own, came 'columns', which 'columns' is",
        ),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            run_battery("mymod:good", checks="follows", **wrong)
