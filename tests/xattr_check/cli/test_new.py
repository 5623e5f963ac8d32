"""xattr-check new: what it writes runs, where it belongs, and nothing is overwritten."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xattr_check.cli.main import main
from xattr_check.cli.new import NOUNS, declared
from xattr_check.core import registry

ROOT = Path(__file__).parents[3]
HERE = ("axioms/xattr_axioms/faithfulness", "axioms/xattr_axioms/contract", "axioms/xattr_axioms/exact")
KINDS = (
    "plugins/xattr_methods/gradients",
    "plugins/xattr_methods/regions",
    "plugins/xattr_methods/controls",
    "fixtures/xattr_fixtures",
)
PYPROJECT = """\
[project]
name = "my-checks"

[project.entry-points."xattr_check.axioms"]
mine = "my_checks.rules"
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A skeleton of this repository, whose packages are those of the repository for what they lack."""
    for folder in (*HERE, *KINDS):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").write_text('"""Packages."""\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "xattr-check"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one's own that has an entry point for checks alone."""
    (tmp_path / "my_checks" / "rules").mkdir(parents=True)
    for folder in ("my_checks", "my_checks/rules"):
        (tmp_path / folder / "__init__.py").write_text('"""Packages."""\n')
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    return {name for name in found if not name.endswith("__init__.py")}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A module of Python in a folder, whose packages are in reach."""
    paths = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def problems(folder: Path, *ruff: str) -> str:
    """What the linters say."""
    pytest.importorskip("ruff")
    commands = [("ruff", "check", *ruff, "."), ("ruff", "format", "--diff", *ruff, ".")]
    return "".join(done.stdout for one in commands if (done := run(folder, *one)).returncode)


OWN = ("--isolated", "--config", "target-version='py311'")  # and of 88 columns, as by default
RULES = ("--config", "lint.select=['E', 'F', 'W', 'I', 'UP', 'B', 'SIM', 'RUF', 'D1', 'RET']")


def test_in_a_package_of_ones_own(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where an entry point says, else below the package; the entry points that are missing are told."""
    assert main(["new", "check", "mass_on_object", "--family=mine"]) == 0
    assert capsys.readouterr().out == (
        "written: my_checks/rules/mass_on_object.py\n"
        "written: tests/test_mass_on_object.py, with a broken method that it must tell\n"
        "next: pytest tests/test_mass_on_object.py\n"
    )
    assert main(["new", "method", "my_slope"]) == 0
    assert capsys.readouterr().out == (
        "written: my_checks/methods/my_slope.py\n"
        "written: tests/test_my_slope.py, with a broken method that it must tell\n"
        "to take part, add to pyproject.toml, and install the package again:\n\n"
        '[project.entry-points."xattr_check.methods"]\n'
        'my_checks = "my_checks.methods"\n\n'
        "next: pytest tests/test_my_slope.py\n"
    )
    assert main(["new", "subject", "my_columns", "--into=my_checks.data.small"]) == 0
    assert 'my_checks = "my_checks.data.small"\n' in capsys.readouterr().out
    assert main(["new", "check", "no_input", "--family=contract"]) == 0
    assert problems(package, *OWN, *RULES) == ""


@pytest.mark.slow
def test_what_it_writes_runs_in_a_package_of_ones_own(package: Path) -> None:
    """Tests pass, types are strict, and a check's test turns red where its broken method is mended."""
    for words in ("check a_rule", "check a_contract --family=contract", "method a_slope", "subject a_table"):
        assert main(["new", *words.split()]) == 0
    mended = (package / "tests" / "test_a_rule.py").read_text().replace(".roll(1, 1)", "")
    (package / "tests" / "test_mended.py").write_text(mended)
    result = run(package, "pytest", "-q", "tests", "-p", "no:cacheprovider")
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 3, result.stdout
    assert all("test_mended.py::test_right_passes_and_broken_fails" in line for line in failed)
    assert "skipped" not in result.stdout
    pytest.importorskip("mypy")
    result = run(package, "mypy", "--strict", "--explicit-package-bases", "my_checks", "tests")
    assert result.returncode == 0, result.stdout


def test_in_this_repository(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They go where CONTRIBUTING.md says, and pass their tests and the linters of the repository."""
    for words in ("check a_rule", "check an_axiom --family=exact", "method a_slope", "subject a_table"):
        assert main(["new", *words.split()]) == 0
    main(["new", "method", "a_drop", "--kind=regions"])
    main(["new", "check", "a_contract", "--family=contract"])
    for noun in ("check", "method", "subject"):
        assert main(["new", noun, f"{noun}_of_which_the_import_takes_a_few_lines"]) == 0
    assert "next: pytest tests/xattr_axioms/contract/test_a_contract.py\n" in capsys.readouterr().out
    assert files(house) >= {
        "axioms/xattr_axioms/contract/a_contract.py",
        "axioms/xattr_axioms/exact/an_axiom.py",
        "axioms/xattr_axioms/faithfulness/a_rule.py",
        "fixtures/xattr_fixtures/a_table.py",
        "plugins/xattr_methods/gradients/a_slope.py",
        "tests/xattr_axioms/contract/test_a_contract.py",
        "tests/xattr_axioms/exact/test_an_axiom.py",
        "tests/xattr_axioms/faithfulness/test_a_rule.py",
        "tests/xattr_fixtures/test_a_table.py",
        "tests/xattr_methods/gradients/test_a_slope.py",
    }
    assert problems(house, "--config", str(ROOT / "pyproject.toml")) == ""


# Of pytest in the skeleton: its folders are searched as if they were those of the repository.
CONFTEST = """
import importlib

for folder in {folders}:
    package = importlib.import_module(".".join(folder.split("/")[1:]))
    package.__path__.append("{root}/" + folder)
"""


def test_what_it_writes_runs_in_this_repository(house: Path) -> None:
    methods = ("method a_slope", "method a_drop --kind=regions")
    for words in ("check a_rule", "check a_contract --family=contract", *methods, "subject a_table"):
        assert main(["new", *words.split()]) == 0
    (house / "conftest.py").write_text(CONFTEST.format(folders=(*HERE, *KINDS), root=house))
    result = run(house, "pytest", "-q", "tests", "-p", "no:cacheprovider", "--import-mode=importlib")
    assert result.returncode == 0, result.stdout
    assert re.search(r"^\d\d passed in", result.stdout, re.M), result.stdout


def test_it_finds_a_package_without_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "src" / "only_one").mkdir(parents=True)
    (tmp_path / "src" / "only_one" / "__init__.py").write_text('"""Packages."""\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\n')
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path / "notes")  # the folder of pyproject.toml counts
    assert main(["new", "subject", "my_columns"]) == 0
    assert "written: ../src/only_one/fixtures/my_columns.py\n" in capsys.readouterr().out
    assert files(tmp_path) == {"src/only_one/fixtures/my_columns.py", "tests/test_my_columns.py"}
    made = tmp_path / "src" / "only_one" / "fixtures" / "__init__.py"
    assert made.read_text() == '"""Subjects, one in each module."""\n'
    assert not (tmp_path / "src" / "__init__.py").exists()
    assert (
        "from only_one.fixtures.my_columns import my_columns"
        in (tmp_path / "tests" / "test_my_columns.py").read_text()
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("check 2nd", "check '2nd': expected a name of Python in lower case, for example null_gap"),
        ("check class", "check 'class': expected a name of Python in lower case, for example null_gap"),
        ("method _helper", "method '_helper': expected a name of Python in lower case, for example null_gap"),
        ("check deletion", "check 'deletion': the name is taken; the nearest are "),
        ("subject digits", "subject 'digits': the name is taken; the nearest are analytic, "),
        ("method broken", "method 'broken': it means something else in the file that would be written"),
        ("check torch", "check 'torch': it means something else in the file that would be written"),
        (
            "check mine --family=faithful",
            "--family='faithful': expected a folder of axioms/xattr_axioms; the nearest are faithfulness",
        ),
        (
            "method mine --kind=controls",
            "--kind='controls': expected a folder of plugins/xattr_methods; the nearest are gradients",
        ),
        ("subject mine --into=a-b", "--into='a-b': expected a package, for example mypackage.checks"),
    ],
)
def test_mistakes_are_told(words: str, told: str, house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(house)
    assert main(["new", *words.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"xattr-check: {told}")
    assert said.count("\n") == 1
    assert files(house) == before


def test_mistakes_about_packages_are_told(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(words: str) -> str:
        assert main(["new", *words.split()]) == 2
        return capsys.readouterr().err.removeprefix("xattr-check: ")

    assert told("method mine --kind=regions") == (
        "--kind='regions': the kinds are folders of xattr-check's own methods; omit it\n"
    )
    (package / "pyproject.toml").write_text(PYPROJECT.replace("rules", "gone"))
    assert told("check mine") == (
        "pyproject.toml: there is no folder my_checks/gone, which an entry point names; "
        "say another package with --into=PACKAGE\n"
    )
    (package / "pyproject.toml").write_text("[project")
    assert told("check mine").startswith("pyproject.toml: not TOML: ")
    (package / "pyproject.toml").unlink()
    (package / "my_checks" / "__init__.py").unlink()
    assert told("check mine") == (
        "new: expected one package in this folder, came none; say which with --into=PACKAGE\n"
    )


@pytest.mark.parametrize("there", ["my_checks/rules/mine.py", "tests/test_mine.py"])
def test_it_never_overwrites(there: str, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "tests").mkdir()
    (package / there).write_text("KEPT = True\n")
    before = files(package)
    assert main(["new", "check", "mine"]) == 2
    assert capsys.readouterr().err == (
        f"xattr-check: new: {there} is there already, and is left as it is; take another name\n"
    )
    assert files(package) == before
    assert (package / there).read_text() == "KEPT = True\n"


def test_what_was_begun_a_moment_ago_is_known(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (house / HERE[0] / "others.py").write_text('@axiom(statement="x")\ndef just_now(): ...\n')
    assert main(["new", "check", "just_now"]) == 2
    assert "check 'just_now': the name is taken" in capsys.readouterr().err


def test_every_name_that_is_installed_is_known() -> None:
    """Names are read from the sources, without importing them: in under half a second."""
    installed = (registry.checks(), registry.methods(), registry.subjects())
    for noun, known in zip(NOUNS, installed, strict=True):
        assert set(known) <= set(declared(noun))


def test_torch_is_not_imported(package: Path) -> None:
    code = (
        "import sys; from xattr_check.cli.main import main; main(['new', 'check', 'mine']); "
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
