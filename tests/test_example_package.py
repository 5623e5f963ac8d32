"""The package in examples/ is installed, and takes part."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "examples" / "xattr_example"


def installed_by_hand(target: Path) -> None:
    """What pip does with the wheel of a pure package, where there is neither hatchling nor a network."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copytree(PACKAGE / "xattr_example", target / "xattr_example")
    name, version = project["name"], project["version"]
    info = target / f"xattr_example-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))


def run(target: Path, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder or target.parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("example") / "installed"
    installed_by_hand(target)
    return target


def test_it_takes_part_and_its_own_tests_pass(target: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(PACKAGE / "tests", tmp_path / "tests")
    result = run(
        target,
        "pytest",
        str(tests),
        "--xattr-method=xattr:column_occlusion",
        "--xattr-method=xattr:gradient",
        "--xattr-subject=linear_columns",
        "--xattr-checks=shape, agrees_with_effects",
        folder=tmp_path,
    )
    assert result.returncode == 1, result.stdout
    assert "FAILED xattr::xattr:gradient::agrees_with_effects" in result.stdout
    assert "1 failed, " in result.stdout  # so its own tests pass
    rows = [line.split()[:2] for line in result.stdout.splitlines() if "agrees_with_effects   " in line]
    assert rows == [["agrees_with_effects", "pass"], ["agrees_with_effects", "FAIL"]], result.stdout
    assert "xattr:column_occlusion on linear_columns" in result.stdout


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed here")
def test_pip_installs_what_is_installed_by_hand(target: Path, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "source")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--target", str(tmp_path / "pip"))
    result = run(target, "pip", "install", *options, str(tmp_path / "source"))
    assert result.returncode == 0, result.stderr
    points = [next(path.glob("*.dist-info/entry_points.txt")) for path in (target, tmp_path / "pip")]
    lines = [sorted(filter(None, path.read_text().splitlines())) for path in points]
    assert lines[0] == lines[1]
    files = [
        {str(path.relative_to(root)) for path in root.glob("xattr_example/**/*.py")}
        for root in (target, tmp_path / "pip")
    ]
    assert files[0] == files[1]
