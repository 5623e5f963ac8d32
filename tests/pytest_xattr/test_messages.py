"""Every mistake is told in one sentence, with exit code 4, and no traceback but the user's own."""

import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from xattr_check import UsageError, load_method
from xattr_check.battery.battery import Battery
from xattr_check.config.settings import Settings
from xattr_check.config.xattr_yaml import read

Run = Callable[..., pytest.RunResult]


def told(outcome: pytest.RunResult) -> str:
    """What pytest says of a usage error, and that it says it once."""
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in outcome.errlines if line]
    assert lines[0].startswith("ERROR: ")
    assert outcome.stderr.str().count("ERROR: ") == 1
    return "\n".join(lines).removeprefix("ERROR: ")


METHODS = {
    "mymod.explain": "--xattr-method='mymod.explain': expected MODULE:CALLABLE, for example mymod:explain",
    "mymod": "--xattr-method='mymod': expected MODULE:CALLABLE, for example mymod:explain",
    "mymode:good": (
        "--xattr-method='mymode:good': no module 'mymode' in {here} or among the installed packages; "
        "expected MODULE:CALLABLE, for example mymod:explain"
    ),
    "absent.py:good": "--xattr-method='absent.py:good': expected a file, absent.py is not there",
    "mymod:goood": "--xattr-method='mymod:goood': mymod has no attribute 'goood'; the nearest are good",
    "mymod:number": (
        "--xattr-method='mymod:number': expected a function explain(model, inputs, targets), came int 3"
    ),
    "mymod:one_argument": (
        "--xattr-method='mymod:one_argument': expected a function that is called as explain(model, inputs, "
        "targets), came one_argument(model)"
    ),
    "mymod:good?steps=3": (
        "--xattr-method='mymod:good?steps=3': expected a parameter among (none), came 'steps'"
    ),
    "mymod:good?steps": (
        "--xattr-method='mymod:good?steps': expected parameters as ?name=value&name=value, came 'steps'"
    ),
    "gradient": (
        "--xattr-method='gradient': expected MODULE:CALLABLE; the reference method is xattr:gradient"
    ),
    "xattr:gradent": (
        "--xattr-method='xattr:gradent': no reference method 'gradent'; the nearest are gradient"
    ),
}


def mistake(make: Callable[[], object]) -> str:
    """What the library says, which a session says in the same words."""
    try:
        make()
    except UsageError as error:
        return str(error)
    return "no mistake"


def other_than(expected: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """What does not begin as is expected."""
    return {case: text for case, text in found.items() if not text.startswith(expected[case])}


@pytest.fixture
def importable(folder: pytest.Pytester) -> pytest.Pytester:
    """The folder, from which this process can import."""
    folder.syspathinsert()
    return folder


def test_methods_that_do_not_resolve(importable: pytest.Pytester) -> None:
    expected = {spec: text.format(here=Path.cwd()) for spec, text in METHODS.items()}
    found = {spec: mistake(lambda: load_method(spec)) for spec in METHODS}  # noqa: B023
    assert other_than(expected, found) == {}


@pytest.mark.parametrize("spec", ["mymode:good", "xattr:gradent"])
def test_method_that_does_not_resolve_is_told_by_pytest(judge: Run, spec: str) -> None:
    assert told(judge(method=spec)).startswith(METHODS[spec].format(here=Path.cwd()))


def test_error_inside_the_users_module_shows_its_traceback(folder: pytest.Pytester, judge: Run) -> None:
    folder.makepyfile(broken="import mymod\nmymod.nothing\n")
    text = told(judge(method="broken:explain"))
    assert text.startswith("--xattr-method='broken:explain': importing broken failed:\n")
    assert f'File "{folder.path / "broken.py"}", line 2, in <module>' in text
    assert text.endswith("AttributeError: module 'mymod' has no attribute 'nothing'")
    assert "xattr_check" not in text
    assert "importlib" not in text


def test_missing_import_inside_the_users_module_is_not_a_missing_module(
    folder: pytest.Pytester, judge: Run
) -> None:
    folder.makepyfile(broken="import absent_package\n")
    assert told(judge(method="broken:explain")).endswith("No module named 'absent_package'")


def test_error_while_a_class_is_made_shows_its_traceback(folder: pytest.Pytester, judge: Run) -> None:
    folder.makepyfile(made="class Explain:\n    def __init__(self):\n        raise OSError('no weights')\n")
    text = told(judge(method="made:Explain"))
    assert text.startswith("--xattr-method='made:Explain': making the method failed:\n")
    assert text.endswith("OSError: no weights")


SUBJECTS = {
    "absent": "--xattr-subject='absent': expected MODULE:FACTORY, for example mymod:make_subject, or one of ",
    "mymod:absent": "--xattr-subject='mymod:absent': mymod has no attribute 'absent'",
    "mymod:no_inputs": "subject 'empty': expected inputs (N, *F) with N ≥ 1, came (0, 6)",
    "mymod:few_targets": "subject 'short': expected targets (4,), one for each input, came (3,)",
    "mymod:wrong_rank": (
        "subject 'flat': expected the model to return outputs (1, K) for one input, came (6, 1)"
    ),
    "mymod:number": (
        "--xattr-subject='mymod:number': expected a Subject or a function that returns one, came int"
    ),
    "mymod:not_a_subject": (
        "--xattr-subject='mymod:not_a_subject': expected it to return an xattr_check.Subject, came int"
    ),
    "mymod:columns?m=3": (
        "--xattr-subject='mymod:columns?m=3': columns() got an unexpected keyword argument 'm'"
    ),
}


def test_subjects_that_do_not_hold_together(importable: pytest.Pytester) -> None:
    found = {
        spec: mistake(lambda: Battery(Settings(subjects=[spec]), ["mymod:good"]).prepare())  # noqa: B023
        for spec in SUBJECTS
    }
    assert other_than(SUBJECTS, found) == {}


@pytest.mark.parametrize("spec", ["absent", "mymod:wrong_rank"])
def test_subject_that_does_not_hold_together_is_told_by_pytest(judge: Run, spec: str) -> None:
    assert told(judge(f"--xattr-subject={spec}")).startswith(SUBJECTS[spec])


def test_error_inside_the_subject_shows_its_traceback(judge: Run) -> None:
    text = told(judge("--xattr-subject=mymod:broken_subject"))
    assert text.startswith("--xattr-subject='mymod:broken_subject': making the subject failed:\n")
    assert text.endswith("OSError: no such disk")


OPTIONS = {
    "--xattr-checks=fit": "--xattr-checks='fit': no check or family 'fit'; the nearest are ",
    "--xattr-checks=fits and and": (
        "--xattr-checks='fits and and': expected names and families joined by and, or, not, for example "
        "'contract and not deterministic'"
    ),
    "--xattr-checks=fits and follows": ("--xattr-checks='fits and follows': selects none of the 6 checks"),
    "--xattr-budget=huge": "--xattr-budget='huge': expected quick, standard, full",
    "--xattr-seed=many": "--xattr-seed='many': expected a whole number, for example 10",
    "--xattr-timeout=0": "--xattr-timeout=0: expected seconds greater than 0",
    "--xattr-memory=0": "--xattr-memory=0: expected at least 1, in MiB",
    "--xattr-timeout=soon": "--xattr-timeout='soon': expected seconds, for example 10",
    "--xattr-device=tpu0": (
        "--xattr-device='tpu0': expected auto, cpu, cuda, xpu or mps, or one by its number, "
        "for example cuda:0"
    ),
    "--xattr-device=cuda:99": "--xattr-device='cuda:99': expected one of the devices that torch sees ",
    "--xattr-model=torchvision:resnet50": (
        "--xattr-model: expected --xattr-data beside it, for example --xattr-model=torchvision:resnet50 "
        "--xattr-data=imagefolder:PATH"
    ),
    "--xattr-gates=absent.yaml": (
        "--xattr-gates='{here}/absent.yaml': expected a file that can be read, came No such file or directory"
    ),
    "--xattr-storage=mymod.py": (
        "--xattr-storage='{here}/mymod.py': expected a folder that can be written, came Not a directory"
    ),
    "--xattr-json=mymod.py/out.json": (
        "--xattr-json='{here}/mymod.py/out.json': expected a file that can be written, came "
    ),
    "--xattr-json=.": "--xattr-json='{here}': expected a file that can be written, came a folder",
    "xattr::mymod:good::folows": (
        "not found: xattr::mymod:good::folows; the nearest are xattr::mymod:good::follows"
    ),
}


@pytest.mark.parametrize("argument", OPTIONS)
def test_option_that_cannot_be_understood(folder: pytest.Pytester, judge: Run, argument: str) -> None:
    assert told(judge(argument)).startswith(OPTIONS[argument].format(here=folder.path))


def test_no_method_at_all(judge: Run) -> None:
    assert told(judge(method=None)) == (
        "--xattr-method: expected at least one, for example --xattr-method=mymod:explain"
    )


FILES = {
    "methods: [\n": "{path}:2: not YAML: ",
    "just a text\n": "{path}:1: expected the file to be a mapping, name: value",
    "seed: 1\nbuget: quick\n": "{path}:2: unknown key 'buget'; the nearest are budget",
    "seed: 1\nbudget: huge\n": "{path}:2: budget: expected quick, standard, full, came 'huge'",
    "seed: soon\n": "{path}:1: seed: expected a whole number, came 'soon'",
    "strict: 1\n": "{path}:1: strict: expected true or false, came 1",
    "gates:\n  follows: {below: 3}\n": (
        "{path}:2: gates: expected follows: {{at_most|at_least|beats|within|reaches: NUMBER}}, came below: 3"
    ),
    "gates: {folows: {at_most: 3}}\n": "{path}:1: gates: no check 'folows'; the nearest are follows",
    "expected_failures: {absent: why}\n": "{path}:1: expected_failures: no check 'absent'",
    "expected_failures: {follows: }\n": (
        "{path}:1: expected_failures: expected a reason for 'follows', came None"
    ),
    "expected_failures: {mymod:bad: {follows: why}}\n": (
        "{path}:1: expected_failures: no method 'mymod:bad' in this run; the nearest are mymod:good"
    ),
    "expected_failures: {mymod:good: {folows: why}}\n": (
        "{path}:1: expected_failures: no check 'folows'; the nearest are follows"
    ),
    "gates:\n  follows: {at_most: 3}\n  folows: {at_most: 3}\n": "{path}:3: gates: no check 'folows'; the ",
    "claims: {mymod:good: [promise,\n  promises]}\n": "{path}:2: claims: no check 'promises'; the nearest ",
    "claims: {mymod:good: promise}\n": (
        "{path}:1: claims: expected a list of checks for 'mymod:good', came 'promise'"
    ),
    "methods:\n- mymod:good\n- mymod:god\n": (
        "{path}:3: --xattr-method='mymod:god': mymod has no attribute 'god'; the nearest are good"
    ),
    "methods:\n- mymod:good\n- mymod:god?n=1\n": (
        "{path}:3: --xattr-method='mymod:god?n=1': mymod has no attribute 'god'; the nearest are good"
    ),
    "methods:\n- mymod:good\n- mymod:good?n=1\n": (
        "{path}:3: --xattr-method='mymod:good?n=1': expected a parameter among (none), came 'n'"
    ),
    "methods:\n- 3\n": "{path}:2: methods: expected texts in the list, came 3",
    "methods: {a: b}\n": (
        "{path}:1: methods: expected a spec or a list of them, for example [mymod:explain], came a mapping"
    ),
    "checks: folows\n": "{path}:1: --xattr-checks='folows': no check or family 'folows'; the ",
    "seed: 1\nseed: 2\n": "{path}:2: 'seed' stands in the file twice, for the first time in line 1",
    "gates:\n  fits: {at_most: 1}\n  fits: {at_most: 2}\n": (
        "{path}:3: 'fits' stands in gates twice, for the first time in line 2"
    ),
    "gates: {fits: {}}\n": "{path}:1: gates: expected one bound for 'fits', came 0",
    "gates: {fits: {at_most: 1, at_least: 0}}\n": "{path}:1: gates: expected one bound for 'fits', came 2",
    "gates: {fits: {at_most: .nan}}\n": (
        "{path}:1: gates: expected a finite number for 'fits', came at_most: nan"
    ),
    "subject: digits\nsubjects: [digits]\n": "{path}:2: expected either subject or subjects, came both",
    "subjects: [digits, 3]\n": "{path}:1: subjects: expected texts in the list, came 3",
    "subjects:\n- mymod:columns\n- mymod:colums\n": (
        "{path}:3: --xattr-subject='mymod:colums': mymod has no attribute 'colums'; the nearest are columns"
    ),
    "subjects:\n  mymod:columns:\n  nothing:\n": (
        "{path}:3: --xattr-subject='nothing': expected MODULE:FACTORY, for example mymod:make_subject, or"
    ),
    "subjects: {mymod:columns: good}\n": (
        "{path}:1: expected what holds on 'mymod:columns' to be a mapping, name: value, came 'good'"
    ),
    "subjects:\n  mymod:columns:\n    seed: 3\n": "{path}:3: subjects: mymod:columns: unknown key 'seed'",
    "subjects:\n  mymod:columns: {}\n  mymod:columns: {}\n": (
        "{path}:3: 'mymod:columns' stands in subjects twice, for the first time in line 2"
    ),
    "subjects:\n  mymod:columns:\n    gates: {folow: {at_most: 3}}\n": (
        "{path}:3: subjects: mymod:columns: gates: no check 'folow'; the nearest are follows"
    ),
    "subjects:\n  mymod:columns:\n    gates: {fits: {at_most: .nan}}\n": (
        "{path}:3: gates: expected a finite number for 'fits', came at_most: nan"
    ),
    "subjects:\n  mymod:columns:\n    claims: [promises]\n": (
        "{path}:3: subjects: mymod:columns: claims: no check 'promises'; the nearest are promise"
    ),
    "subjects:\n  mymod:columns:\n    expected_failures:\n      mymod:god: {follows: coarse}\n": (
        "{path}:4: subjects: mymod:columns: expected_failures: no method 'mymod:god' in this run"
    ),
    "subjects: ['mymod:columns', 'mymod:columns?n=32']\n": (
        "{path}:1: --xattr-subject='mymod:columns?n=32': expected a subject with a name of its own, came "
        "'columns', which 'mymod:columns' is called too"
    ),
    "gates: {fits: {at_most: [1]}}\n": (
        "{path}:1: gates: expected fits: {{at_most|at_least|beats|within|reaches: NUMBER}}, "
        "came at_most: a list"
    ),
    "gates: [fits]\n": "{path}:1: expected gates to be a mapping, name: value, came a list",
    "gates:\n\tfits: 3\n": "{path}:2: not YAML: a tab where YAML takes spaces alone",
    "seed: 1\n---\nseed: 2\n": "{path}:2: not YAML: but found another document",
    "? [a]\n: b\n": "{path}:1: expected a name in the file, came a list",
    "subject:\n  name: digits\n": (
        "{path}:2: subject: expected a text, or for several subjects: a list of them, came a mapping"
    ),
    "seed: 1\ndevice: tpu0\n": "{path}:2: --xattr-device='tpu0': expected auto, cpu, cuda, xpu or mps",
    "seed: 1\ntimeout: -1\n": "{path}:2: --xattr-timeout=-1: expected seconds greater than 0",
    "seed: 1\nmodel: a:b\n": "{path}:2: --xattr-model: expected --xattr-data beside it",
    "compare: absent\n": "{path}:1: --xattr-compare='absent': no run is saved in",
    "compare: true\ncompare_fail: [p>1]\n": "{path}:2: --xattr-compare-fail='p>1': expected p<NUMBER",
    "compare_fail: [p<0.01, 3]\n": "{path}:1: compare_fail: expected texts in the list, came 3",
    "expected_failures: {mymod:good: {follows: {a: b}}}\n": (
        "{path}:1: expected_failures: follows: unknown key 'a'; the nearest are accepted, interval, reason"
    ),
    "expected_failures:\n  mymod:good:\n    follows:\n      interval: [1, 0]\n": (
        "{path}:4: expected_failures: follows: expected interval: [LOW, HIGH], two numbers in their order, "
        "came [1, 0]"
    ),
    "expected_failures: {mymod:good: {follows: {interval: [0, .inf]}}}\n": (
        "{path}:1: expected_failures: follows: expected interval: [LOW, HIGH], two numbers in their order"
    ),
    "expected_failures: {follows: {reason: [coarse]}}\n": (
        "{path}:1: expected_failures: follows: expected reason: TEXT, came a list"
    ),
    "expected_failures: [follows]\n": (
        "{path}:1: expected_failures: expected reasons by check, check: reason, came a list"
    ),
    "seed: !!python/object/apply:os.getpid []\n": "{path}:1: seed: expected a whole number, came a list",
    "seed: !!python/name:os.getpid x\n": "{path}:1: could not determine a constructor for the tag",
    "claims: [promises]\n": "{path}:1: claims: no check 'promises'; the nearest are promise",
}


# Of the library's own, one that is no YAML, one of each that reads and one that resolves what is in it; and
# those of the plugin, which alone compares.
BY_PYTEST = [
    "methods: [\n",
    "seed: 1\nbuget: quick\n",
    "gates: {folows: {at_most: 3}}\n",
    "methods:\n- mymod:good\n- mymod:god\n",
    *(text for text in FILES if text.startswith("compare: ")),
]


def test_files_that_cannot_be_understood(importable: pytest.Pytester) -> None:
    path = importable.path / "xattr.yaml"
    found = {}
    for text in FILES.keys() - set(BY_PYTEST):

        def resolve() -> None:
            settings = read(path)
            battery = Battery(settings, settings.methods or ["mymod:good"])
            _ = battery.run
            battery.prepare()

        path.write_text(text)
        found[text] = mistake(resolve)
    assert other_than({text: FILES[text].format(path=path) for text in FILES}, found) == {}


@pytest.mark.parametrize("text", BY_PYTEST)
def test_file_that_cannot_be_understood_is_told_by_pytest(
    folder: pytest.Pytester, judge: Run, text: str
) -> None:
    path = folder.path / "xattr.yaml"
    path.write_text(text)
    method = None if "methods" in text else "mymod:good"
    assert told(judge(method=method)).startswith(FILES[text].format(path=path))


def test_file_that_is_not_utf_8(folder: pytest.Pytester, judge: Run) -> None:
    path = folder.path / "xattr.yaml"
    path.write_bytes("seed: 1\n# Prüfung\n".encode("latin-1"))
    assert told(judge()) == f"{path}:2: not UTF-8: byte 0xfc; save the file as UTF-8"


def test_subject_of_a_file_is_told_with_its_line(folder: pytest.Pytester) -> None:
    path = folder.path / "xattr.yaml"
    path.write_text("methods: mymod:good\nsubject: nowhere\n")
    text = told(folder.runpytest_inprocess("--xattr-gates=xattr.yaml"))
    assert text.startswith(f"{path}:2: --xattr-subject='nowhere': expected MODULE:FACTORY")


def test_option_on_the_command_line_is_not_blamed_on_the_file(folder: pytest.Pytester, judge: Run) -> None:
    (folder.path / "xattr.yaml").write_text("seed: 1\nchecks: folows\n")
    assert told(judge("--xattr-checks=fit")).startswith("--xattr-checks='fit': no check or family 'fit'")


def test_mistakes_are_told_once_and_before_workers_start(judge: Run) -> None:
    for mistake in ("--xattr-checks=fit", "--xattr-subject=mymod:few_targets"):
        outcome = judge(mistake, "-n2")
        told(outcome)
        outcome.stdout.no_fnmatch_line("*worker*")


def test_damaged_entry_of_the_store_is_named_and_computed_again(folder: pytest.Pytester, judge: Run) -> None:
    judge("--xattr-checks=follows", "--xattr-json=before.json")
    entries = list(folder.path.glob(".xattr/store/control/*/*.safetensors"))
    assert entries
    for entry in entries:
        entry.chmod(entry.stat().st_mode | stat.S_IWUSR)
        entry.write_bytes(entry.read_bytes()[:-3])
    outcome = judge("--xattr-checks=follows", "--xattr-json=after.json", "-Wdefault")
    outcome.assert_outcomes(passed=1, warnings=len(entries))
    outcome.stdout.fnmatch_lines([f"*{entries[0].name} is damaged (*); it is dropped and computed again"])
    before, after = (
        [line for line in (folder.path / f"{name}.json").read_text().splitlines() if '"seconds"' not in line]
        for name in ("before", "after")
    )
    assert before[before.index('  "results": [') :] == after[after.index('  "results": [') :]
