"""A battery among pytest's own features: selection, outcomes, files, processes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

Run = Callable[..., pytest.RunResult]
BASIC = "--xattr-checks=fits or follows"


def results(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["results"]
    return found


def judged(outcome: pytest.RunResult) -> list[str]:
    """Node ids in the order in which `-v` tells of them."""
    return [line.split()[0] for line in outcome.outlines if re.match(r"xattr::\S+ (PASS|FAIL|SKIP|XF)", line)]


# Outcomes.


def test_good_method_passes(judge: Run) -> None:
    outcome = judge(BASIC)
    outcome.assert_outcomes(passed=2)
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.fnmatch_lines(
        [
            "xattr: mymod:good on mymod:columns, 2 checks",
            "xattr: budget quick, seed 0, device *, error rate 0.001 per verdict",
            "xattr .. *",
            "*= xattr-check =*",
            "mymod:good on columns",
            "  contract",
            "    fits                       pass",
            "  faithfulness",
            "    follows                    pass      1.000                   gate ≥ 0.5",
            "  2 pass",
        ]
    )


def test_broken_method_fails_with_one_sentence(judge: Run) -> None:
    outcome = judge(BASIC, method="mymod:flipped")
    outcome.assert_outcomes(passed=1, failed=1)
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    assert "follows: -1.000 mean cosine with the gradient (gate ≥ 0.5)" in outcome.outlines
    outcome.stdout.fnmatch_lines(["FAILED xattr::mymod:flipped::follows - follows: -1.0*"])
    outcome.stdout.no_fnmatch_line("*Traceback*")


def test_one_line_tracebacks_are_the_sentence(judge: Run) -> None:
    lines = judge(BASIC, "--tb=line", "-rN", method="mymod:flipped").outlines
    assert "follows: -1.000 mean cosine with the gradient (gate ≥ 0.5)" in lines


def test_a_wrong_shape_is_an_error_of_the_method_where_maps_are_used(judge: Run) -> None:
    outcome = judge(BASIC, method="mymod:misshapen")
    outcome.assert_outcomes(failed=1, skipped=1)
    assert "fits: expected a tensor (N, 6), came (N, 5)" in outcome.outlines
    assert "        as fits tells: expected a tensor (N, 6), came (N, 5)" in outcome.outlines


def test_method_that_raises_shows_its_own_frames_once(judge: Run) -> None:
    outcome = judge("--xattr-checks=fits,follows,tossed", method="mymod:always")
    outcome.assert_outcomes(failed=1, skipped=2)
    text = outcome.stdout.str()
    assert text.count("Traceback of the method") == 1
    outcome.stdout.re_match_lines([r"fits: raised ValueError: cannot explain anything \(mymod.py:\d+\)"])
    assert "xattr_check/" not in text
    outcome.stdout.fnmatch_lines(["        as fits tells, the method raised ValueError: cannot explain*"])


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        (("-k", "follows"), {"failed": 1}),  # of those that are judged one tells
        (("--xattr-checks=covers,tossed",), {"failed": 1, "skipped": 1}),  # also where it needs a mask
    ],
)
def test_what_a_method_raises_on_every_call_is_told_once(
    judge: Run, options: tuple[str, ...], outcomes: dict[str, int]
) -> None:
    outcome = judge(*options, method="mymod:always")
    found = outcome.parseoutcomes()
    assert {name: found.get(name, 0) for name in outcomes} == outcomes


def test_an_expected_failure_does_not_stand_for_others(folder: pytest.Pytester, judge: Run) -> None:
    folder.makefile(".yaml", xattr="expected_failures: {fits: it raises}\n")
    outcome = judge("--xattr-checks=fits,follows", method="mymod:always")
    outcome.assert_outcomes(failed=1, xfailed=1)


def test_method_that_raises_on_some_inputs_says_on_which(judge: Run) -> None:
    outcome = judge("--xattr-checks=follows", "--tb=no", method="mymod:sometimes")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.re_match_lines(
        [r"        raised ValueError: cannot explain this one \(mymod.py:\d+\), on \d+ of"]
    )
    outcome.stdout.no_fnmatch_line("*Traceback*")


def test_method_that_hangs_is_waited_for_once(judge: Run) -> None:
    outcome = judge("--xattr-timeout=0.5", "--xattr-checks=fits,follows,promise", method="mymod:sleepy")
    outcome.assert_outcomes(failed=3)
    sentence = "took longer than 0.5 s on 8 inputs; raise the limit with --xattr-timeout=SECONDS"
    assert f"fits: {sentence}" in outcome.outlines
    assert f"follows: {sentence}" in outcome.outlines
    assert outcome.duration < 20


def test_undecided_is_skipped_and_fails_under_strict(judge: Run) -> None:
    assert judge("--xattr-checks=tossed").ret == pytest.ExitCode.OK
    outcome = judge("--xattr-checks=tossed", "--xattr-strict")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["tossed: 0.500 * after 64 inputs; * (undecided, and --xattr-strict)"])


def test_skips_name_the_item_and_the_reason(judge: Run) -> None:
    outcome = judge("--xattr-checks=covers,fits", "-ra")
    outcome.assert_outcomes(passed=1, skipped=1)
    assert (
        "SKIPPED [1] xattr::mymod:good::covers: covers: needs mask, which subject 'columns' does not offer"
        in outcome.outlines
    )


@pytest.mark.parametrize("options", ["", "-q", "-qq", "-q --no-summary", "-qq -x"])
def test_battery_that_says_nothing_is_no_pass(options: str, judge: Run) -> None:
    outcome = judge("--xattr-checks=covers", *options.split())
    assert outcome.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    told = "nothing was judged; covers: needs mask, which subject 'columns' does not offer"
    assert outcome.outlines.count(f"no check applies here: {told}") == 1


def test_a_battery_that_decides_nothing_says_why(judge: Run) -> None:
    outcome = judge("--xattr-checks=covers,tossed", "-q")
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.fnmatch_lines(["nothing was decided; covers: needs mask, which * does not offer"])
    judge("--xattr-checks=covers,fits", "-q").stdout.no_fnmatch_line("nothing was *")


def test_exact_axiom_gates_only_where_claimed(judge: Run) -> None:
    outcome = judge("--xattr-checks=promise")
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.re_match_lines([r"    promise                    fail  .*\(not claimed\)"])
    assert judge("--xattr-checks=promise", method="mymod:promising").ret == pytest.ExitCode.TESTS_FAILED


def test_fault_of_a_check_is_an_error_with_a_traceback(judge: Run) -> None:
    outcome = judge("--xattr-checks=faulty", "--xattr-budget=standard")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*KeyError: 'its own fault'", "*the check itself raised KeyError*"])
    outcome.stdout.no_fnmatch_line("*_pytest*")
    outcome.stdout.no_fnmatch_line("*CallInfo*")


def test_checks_of_several_options_are_all_asked(judge: Run) -> None:
    judge("--xattr-checks=fits", "--xattr-checks=covers, follows").assert_outcomes(passed=2, skipped=1)
    assert judge("--xattr-checks=fit", "--xattr-checks=fits").ret == pytest.ExitCode.USAGE_ERROR


def test_expected_failure(folder: pytest.Pytester, judge: Run) -> None:
    folder.path.joinpath("xattr.yaml").write_text("expected_failures:\n  follows: the sign is a convention\n")
    outcome = judge(BASIC, "-ra", method="mymod:flipped")
    outcome.assert_outcomes(passed=1, xfailed=1)
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.fnmatch_lines(["*; expected: the sign is a convention"])
    assert judge(BASIC, "--runxfail", method="mymod:flipped").ret == pytest.ExitCode.TESTS_FAILED


def test_unexpected_pass_fails(folder: pytest.Pytester, judge: Run) -> None:
    folder.path.joinpath("xattr.yaml").write_text(
        "expected_failures:\n  mymod:good: {follows: the sign is a convention}\n"
    )
    outcome = judge(BASIC)
    outcome.assert_outcomes(passed=1, failed=1)
    outcome.stdout.fnmatch_lines(
        ["[[]XPASS(strict)[]] follows: * remove it from expected_failures, by hand or with *"]
    )


def test_gates_of_the_file_replace_those_of_checks(folder: pytest.Pytester, judge: Run) -> None:
    folder.path.joinpath("strict.yaml").write_text("gates: {follows: {at_least: 1.5}}\n")
    outcome = judge(BASIC, "--xattr-gates=strict.yaml")
    outcome.assert_outcomes(passed=1, failed=1)
    outcome.stdout.fnmatch_lines(["follows: 1.000 * (gate ≥ 1.5)"])


def test_model_and_data_in_place_of_a_subject(folder: pytest.Pytester, judge: Run) -> None:
    for number in range(4):
        path = folder.path / f"images/class{number % 2}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (60 * number, 9, 9)).save(path)
    folder.makepyfile(
        own="import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.mean((2, 3))[:, :2]\n"
    )
    outcome = folder.runpytest_inprocess(
        *("--xattr-method=mymod:good", "--xattr-model=own:Net", "--xattr-data=imagefolder:images"),
        "--xattr-checks=fits",
    )
    outcome.assert_outcomes(passed=1)
    outcome.stdout.fnmatch_lines(["xattr: mymod:good on own:Net with imagefolder:images, 1 check"])


# Selection.


def test_battery_alone_collects_none_of_the_users_tests(folder: pytest.Pytester, judge: Run) -> None:
    folder.makepyfile(test_own="def test_own():\n    assert False\n")
    folder.makeini("[pytest]\ntestpaths = .\n")
    judge(BASIC).assert_outcomes(passed=2)


def test_battery_beside_tests(folder: pytest.Pytester, judge: Run) -> None:
    folder.makepyfile(test_own="def test_own():\n    assert True\n")
    outcome = judge(BASIC, "test_own.py")
    outcome.assert_outcomes(passed=3)
    outcome.stdout.fnmatch_lines(["collected 3 items", "test_own.py . *", "xattr .. *"])


def test_without_an_option_nothing_is_judged(folder: pytest.Pytester) -> None:
    folder.makepyfile(test_own="def test_own():\n    assert True\n")
    folder.path.joinpath("xattr.yaml").write_text("methods: [mymod:good]\n")
    outcome = folder.runpytest_inprocess()
    outcome.assert_outcomes(passed=1)
    outcome.stdout.no_fnmatch_line("*xattr:*")


def test_any_option_judges_the_methods_of_the_file(folder: pytest.Pytester, judge: Run) -> None:
    folder.path.joinpath("xattr.yaml").write_text(
        "methods: [mymod:good, mymod:flipped]\nexpected_failures:\n  mymod:flipped: {follows: its sign}\n"
    )
    judge(BASIC, method=None).assert_outcomes(passed=3, xfailed=1)
    judge(BASIC, method="mymod:good").assert_outcomes(passed=2)


def test_plugin_is_turned_off_by_name(judge: Run) -> None:
    outcome = judge("-p", "no:pytest_xattr")
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["*unrecognized arguments: --xattr-method=mymod:good*"])


def test_keyword_matches_checks_families_and_methods(judge: Run) -> None:
    assert judged(judge("-v", "-k", "fits")) == ["xattr::mymod:good::fits"]
    assert judged(judge("-v", "-k", "faithfulness")) == ["xattr::mymod:good::follows"]
    outcome = judge("-k", "absent")
    assert outcome.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_deselect_and_exit_first(judge: Run) -> None:
    outcome = judge(BASIC, "--deselect=xattr::mymod:good::fits")
    outcome.assert_outcomes(passed=1, deselected=1)
    judge("-x", "--xattr-checks=fits or follows or tossed", method="mymod:always").assert_outcomes(failed=1)


def test_last_failed(judge: Run) -> None:
    judge(BASIC, method="mymod:flipped")
    outcome = judge(BASIC, "--lf", "-v", method="mymod:flipped")
    outcome.assert_outcomes(failed=1, deselected=1)
    assert judged(outcome) == ["xattr::mymod:flipped::follows"]


@pytest.mark.parametrize("prefix", ["", "../", "./"])
def test_node_id_as_an_argument(judge: Run, prefix: str) -> None:
    outcome = judge("-v", f"{prefix}xattr::mymod:good::follows")
    outcome.assert_outcomes(passed=1)
    assert judged(outcome) == ["xattr::mymod:good::follows"]


def test_node_id_names_its_method(judge: Run) -> None:
    judge(BASIC, "xattr::mymod:flipped", method=None).assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    "arguments", [["--xattr-checks=follows?power=2"], ["xattr::mymod:flipped::follows?power=2"]]
)
def test_a_check_with_parameters_has_a_node_id_of_its_own(judge: Run, arguments: list[str]) -> None:
    """A square of a cosine is not negative, so that the method passes."""
    outcome = judge("-v", *arguments, method="mymod:flipped")
    outcome.assert_outcomes(passed=1)
    assert judged(outcome) == ["xattr::mymod:flipped::follows?power=2"]


def test_gate_of_a_check_with_parameters(folder: pytest.Pytester, judge: Run) -> None:
    folder.makefile(".yaml", xattr='checks: ["follows?power=2"]\ngates: {"follows?power=2": {at_least: 2}}\n')
    judge().assert_outcomes(failed=1)


def test_node_id_beside_paths(folder: pytest.Pytester, judge: Run) -> None:
    folder.makepyfile(test_own="def test_own():\n    assert True\n")
    judge("test_own.py", "xattr::mymod:good::fits").assert_outcomes(passed=2)


def test_collect_only_loads_no_subject(judge: Run) -> None:
    outcome = judge("--collect-only", "-q", "--xattr-subject=mymod:broken_subject")
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.fnmatch_lines(["xattr::mymod:broken_subject::mymod:good::fits"])


# What is told, and where.


def test_verbose_shows_controls(judge: Run) -> None:
    judge(BASIC).stdout.no_fnmatch_line("*controls:*")
    judge(BASIC, "-v").stdout.re_match_lines([r"        controls: random -?\d.*"])


def test_many_methods_are_told_briefly(judge: Run) -> None:
    chosen = ("--xattr-method=mymod:flipped", "--xattr-method=mymod:promising")
    brief = judge(BASIC, *chosen)
    brief.stdout.no_fnmatch_line("    fits *")
    brief.stdout.fnmatch_lines(["mymod:good on columns", "  2 pass", "    follows * FAIL *"])
    assert sum(line.startswith("    fits ") for line in judge(BASIC, "-v", *chosen).outlines) == 3


def test_table_fits_eighty_columns(judge: Run) -> None:
    lines = judge("-v", "-r", "N", method="mymod:always").outlines
    start = next(number for number, line in enumerate(lines) if "= xattr-check =" in line)
    assert len(lines[start:]) > 10
    assert max(map(len, lines[start:])) <= 80


def test_properties_in_junitxml(folder: pytest.Pytester, judge: Run) -> None:
    judge(BASIC, "--junitxml=out.xml", method="mymod:flipped")
    cases = ElementTree.parse(folder.path / "out.xml").getroot().iter("testcase")
    case = next(case for case in cases if case.get("name") == "follows")
    assert case.get("classname") == "xattr.mymod:flipped"
    found = {one.get("name"): one.get("value") for one in case.iter("property")}
    assert list(found) == ["status", "statistic", "interval", "gate", "sentence"]
    assert found["status"] == "fail"
    assert float(found["statistic"] or 0) == pytest.approx(-1)
    assert found["gate"] == "≥ 0.5"


def test_json_has_every_verdict(folder: pytest.Pytester, judge: Run) -> None:
    outcome = judge("--xattr-json=deep/down/out.json", "--xattr-seed=7", method="mymod:flipped")
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    content = json.loads((folder.path / "deep/down/out.json").read_text())
    assert list(content) == ["version", "run", "results"]
    assert list(content["run"]) == [
        *("name", "started", "seed", "budget", "device", "versions", "git", "missing", "options", "sources"),
        "subjects",
    ]
    assert (content["run"]["seed"], content["run"]["budget"], content["run"]["git"]) == (7, "quick", None)
    by_check = {record["check"]: record for record in content["results"]}
    assert list(by_check) == ["covers", "fits", "follows", "promise", "tossed"]
    record = by_check["follows"]
    assert list(record) == [
        *("method", "subject", "check", "family", "status", "required", "advisory", "lacks"),
        *("statistic", "interval"),
        *(
            "gate",
            "sentence",
            "controls",
            "n",
            "seconds",
            "better",
            "scale",
            "reaches",
            "fingerprint",
            "code",
            "draws",
        ),
        *("figure", "bound", "best", "beats", "references", "continues", "shortfall"),
    ]
    assert (record["method"], record["subject"], record["status"]) == ("mymod:flipped", "columns", "fail")
    assert set(record["controls"]) == {"random"}
    assert [path.name for path in (folder.path / "deep/down").iterdir()] == ["out.json"]


def test_json_is_written_when_the_run_is_interrupted(folder: pytest.Pytester, judge: Run) -> None:
    folder.makeconftest(
        "import pytest\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_setup(item):\n"
        "    if item.name == 'follows':\n"
        "        raise KeyboardInterrupt\n"
    )
    outcome = judge(BASIC, "--xattr-json=out.json", no_reraise_ctrlc=True)
    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    assert [record["check"] for record in results(folder.path / "out.json")] == ["fits"]


def test_progress_takes_a_line_now_and_then(judge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_xattr.progress.INTERVAL", 0.0)
    judge(BASIC).stdout.fnmatch_lines(["xattr: follows of mymod:good: draw 1 …"])
    judge(BASIC, "-q").stdout.no_fnmatch_line("*draw 1*")


# Processes.


# The installed checks, since workers see no others.
REAL = "--xattr-checks=shape or preserves_inputs or completeness"
COLUMNS = ("--xattr-subject=mymod:columns", "--xattr-json=out.json")


def test_workers_find_the_same_to_the_last_digit(real_folder: pytest.Pytester) -> None:
    chosen = ("--xattr-method=mymod:good", "--xattr-method=mymod:always", *COLUMNS, REAL)
    real_folder.runpytest_inprocess(*chosen).assert_outcomes(passed=3, failed=1, skipped=2)
    alone = results(real_folder.path / "out.json")
    outcome = real_folder.runpytest_subprocess("-n2", *chosen)
    outcome.assert_outcomes(passed=3, failed=1, skipped=2)
    assert outcome.stdout.str().count("Traceback of the method") == 1
    shared = results(real_folder.path / "out.json")
    assert [record | {"seconds": None} for record in alone] == [r | {"seconds": None} for r in shared]


@pytest.mark.slow
def test_killed_worker_costs_one_item(real_folder: pytest.Pytester) -> None:
    real_folder.makepyfile(deadly="import os\ndef explain(model, inputs, targets):\n    os._exit(1)\n")
    chosen = ("--xattr-method=deadly:explain", "--xattr-method=mymod:good", "--xattr-checks=shape")
    real_folder.runpytest_subprocess("-n1", *chosen, *COLUMNS).assert_outcomes(passed=1, failed=1)
    dead, alive = results(real_folder.path / "out.json")
    assert (dead["status"], alive["status"]) == ("error", "pass")
    assert dead["sentence"] == "worker 'gw0' crashed while running 'xattr::deadly:explain::shape'"


def test_plain_run_does_not_import_the_library(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "import sys\ndef test_own():\n    assert not {'torch', 'xattr_check', 'numpy'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).returncode == 0


def test_a_check_that_is_named_is_judged_at_any_budget(folder: pytest.Pytester, judge: Run) -> None:
    for option in ("--xattr-checks=faulty", "xattr::mymod:good::faulty"):
        result = judge(option)
        result.stdout.fnmatch_lines(["*its own fault*"])
    folder.makefile(".yaml", xattr="checks: [fits, faulty]\nmethods: ['mymod:good']\n")
    result = judge("--collect-only", "-q", method=None)
    result.stdout.fnmatch_lines(["xattr::mymod:good::faulty", "xattr::mymod:good::fits"])
    result = judge("--xattr-checks=sanity", "--collect-only", "-q")
    result.stdout.no_fnmatch_line("*faulty*")
