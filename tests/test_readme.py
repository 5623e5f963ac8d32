"""The README's code and commands, run as they stand there, in an empty folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from judging import shared_folder

import xattr_check
from xattr_check.config.selection import select

README = (Path(__file__).parent.parent / "README.md").read_text()


def block(start: str) -> str:
    """The Python block that begins so."""
    found = [code for code in re.findall(r"```python\n(.*?)```", README, re.S) if code.startswith(start)]
    assert len(found) == 1, start
    return found[0]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=900
    )


def told(table: str) -> list[tuple[str, str]]:
    """(check, verdict) in the rows of a table."""
    return re.findall(r"^    (\w+) +(pass|FAIL|undecided|n/a)(?= |$)", table, re.M)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    # The store is where other tests judge on the digits too, so that controls are measured once.
    (folder / ".xattr").mkdir()
    (folder / ".xattr" / "store").symlink_to(shared_folder(tmp_path_factory))
    (folder / "mymod.py").write_text(block("# mymod.py"))
    (folder / "mysubject.py").write_text(block("# mysubject.py"))
    (folder / "test_mine.py").write_text(block("import xattr_check\nfrom mymod"))
    (folder / "plain.py").write_text(block("from xattr_check import run_battery"))
    return folder


SHOWN = README[README.index("mymod:explain on digits") : README.index("This is integrated gradients")]


def test_some_of_the_quick_start_is_what_the_readme_says(folder: Path) -> None:
    """A few of the verdicts that the README shows; all of them take a minute."""
    some = {"null_feature": "pass", "completeness": "pass", "dummy": "pass", "deletion": "pass"}
    assert some.items() <= dict(told(SHOWN)).items()
    result = run(folder, "pytest", "--xattr-method=mymod:explain", f"--xattr-checks={' or '.join(some)}")
    assert dict(told(result.stdout)) == some
    assert "4 passed" in result.stdout


@pytest.mark.slow
def test_the_quick_start_says_what_the_readme_says(folder: Path) -> None:
    assert "$ pytest --xattr-method=mymod:explain\n" in README
    result = run(folder, "pytest", "--xattr-method=mymod:explain")
    assert result.returncode == 0, result.stdout
    assert set(told(SHOWN)) <= set(told(result.stdout))
    assert len(told(SHOWN)) > 5
    counted = re.search(r"\n  \d+ pass, .*\n", SHOWN)
    assert counted is not None
    assert counted[0] in result.stdout


@pytest.mark.slow
def test_without_the_factor_it_fails_where_the_readme_says(folder: Path) -> None:
    code = block("# mymod.py")
    assert "    return inputs * total / steps\n" in code
    (folder / "broken.py").write_text(code.replace("inputs * total", "total"))
    shown = README[README.index("Forget the factor") : README.index("Exit codes are")]
    checks = [check for check, _ in told(shown)]
    assert len(checks) > 1
    result = run(folder, "pytest", "--xattr-method=broken:explain", f"--xattr-checks={' or '.join(checks)}")
    assert result.returncode == 1
    assert told(shown) == told(result.stdout) == [(check, "FAIL") for check in checks]


def test_a_subject_of_ones_own(folder: Path) -> None:
    result = run(folder, "pytest", "--xattr-method=mymod:explain", "--xattr-subject=mysubject:make_subject")
    assert result.returncode == 0, result.stdout
    assert "mymod:explain on mine" in result.stdout
    assert "needs sibling shuffled_labels" in " ".join(result.stdout.split())


def test_from_python_and_in_a_test_file(folder: Path) -> None:
    result = run(folder, "plain")
    assert result.returncode == 0, result.stderr
    assert "xattr:gradcam on digits" in result.stdout
    result = run(folder, "pytest", "test_mine.py", "-q")
    assert result.returncode == 0, result.stdout
    checks = select("contract or completeness", xattr_check.checks(), "quick")
    assert f"{len(checks)} passed" in result.stdout
