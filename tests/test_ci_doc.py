"""What the documentation tells to type: options that exist, YAML that is YAML, scripts that are scripts."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_xattr import plugin
from pytest_xattr.items import _properties
from xattr_check import Verdict
from xattr_check.cli.init import TEMPLATE
from xattr_check.statistics.intervals import Interval

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
CI = (ROOT / "docs" / "ci.md").read_text()


def options() -> set[str]:
    """Every option that the plugin declares."""
    found: set[str] = set()

    class Group:
        def addoption(self, name: str, **_: Any) -> None:
            found.add(name)

    class Parser:
        def getgroup(self, *_: str) -> Group:
            return Group()

    plugin.pytest_addoption(Parser())  # type: ignore[arg-type]
    return found


def test_every_option_that_is_named_exists() -> None:
    texts = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES} | {"init": TEMPLATE}
    named = {page: set(re.findall(r"--xattr-[a-z]+(?:-[a-z]+)*", text)) for page, text in texts.items()}
    known = options()
    assert {page: found - known for page, found in named.items() if not found <= known} == {}


def is_mapping(text: str) -> bool:
    try:
        return isinstance(yaml.safe_load(text), dict)
    except yaml.YAMLError:
        return False


def test_yaml_of_a_page_is_yaml() -> None:
    blocks = [
        (str(page.relative_to(ROOT)), block)
        for page in PAGES
        for block in re.findall(r"```ya?ml\n(.*?)```", page.read_text(), re.S)
    ]
    assert blocks
    assert [block for block in blocks if not is_mapping(block[1])] == []


def workflow() -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(re.findall(r"```yaml\n(name: attribution\n.*?)```", CI, re.S)[0])
    return found


def test_the_workflow_has_what_it_needs() -> None:
    found = workflow()
    assert set(found[True]) == {"push", "pull_request"}  # to YAML 1.1, `on` is true
    assert found["permissions"] == {"contents": "read", "pull-requests": "write"}
    steps = found["jobs"]["attribution"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z/-]+@v\d+", action) for action in used)
    saved = next(step for step in steps if step.get("uses") == "actions/cache/save@v4")
    restored = next(step for step in steps if step.get("uses") == "actions/cache/restore@v4")
    assert saved["with"]["path"] == restored["with"]["path"] == ".xattr/history"
    assert saved["with"]["key"] == restored["with"]["key"]
    assert restored["with"]["key"].startswith(restored["with"]["restore-keys"])
    assert "push" in saved["if"]
    for step in steps:
        assert "github.event.pull_request.title" not in str(step)
        assert "${{" not in step.get("run", ""), "expressions in a script are injections"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_scripts_of_the_workflow_are_scripts() -> None:
    for step in workflow()["jobs"]["attribution"]["steps"]:
        if "run" in step:
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True, timeout=30)


def test_the_properties_of_junit_are_those_that_are_written() -> None:
    section = CI[CI.index("## JUnit") : CI.index("## pre-commit")]
    told = re.findall(r"^\| `(\w+)` \|", section, re.M)
    verdict = Verdict("m", "s", "c", "f", "pass", "it holds", "≤ 1", interval=Interval(0.5, 0.4, 0.6))
    assert told == [name for name, _ in _properties(verdict)]


def test_the_hook_runs_a_battery() -> None:
    (block,) = re.findall(r"```yaml\n(repos:\n.*?)```", CI, re.S)
    (repository,) = yaml.safe_load(block)["repos"]
    (hook,) = repository["hooks"]
    assert hook["entry"].startswith("pytest --xattr-method=")
    assert (hook["language"], hook["pass_filenames"]) == ("system", False)
    assert re.search(hook["files"], "mymod.py")
