"""xattr-check init: what it writes is read, and does what its comments say."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from xattr_check import AtMost, Beats
from xattr_check.battery.battery import Battery
from xattr_check.cli import accept as cli_accept
from xattr_check.cli.main import main
from xattr_check.config.settings import Settings
from xattr_check.config.xattr_yaml import read
from xattr_check.config.yaml_nodes import NAME
from xattr_check.core.verdict import Drawn, Status, Verdict, of_gate
from xattr_check.history.compare import compare
from xattr_check.history.rules import broken, parse
from xattr_check.statistics.intervals import exact

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_what_can_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert capsys.readouterr().out == (
        "written: xattr.yaml, which judges xattr:gradcam on digits\nnext: pytest --xattr-gates=xattr.yaml\n"
        "or xattr-check accept --gates=xattr.yaml, after which only what gets worse fails\n"
    )
    assert read(folder / NAME) == Settings(
        methods=["xattr:gradcam"],
        subjects=["digits"],
        autosave=True,
        compare_fail="p<0.01 and worse>5%, any:pass->fail",
        places={("compare_fail",): ""},  # which is said by a file
    )


def verdict(rows: torch.Tensor, status: Status) -> Verdict:
    return Verdict(
        "mymod:explain", "digits", "deletion", "faithfulness", status, "",
        interval=exact(float(rows.mean())), draws={"0": Drawn(rows, {"random": 1.0})}, **of_gate(AtMost(9)),
    )  # fmt: skip


@pytest.mark.parametrize("page", ["xattr.yaml", "ci.md", "gates.md"])
@pytest.mark.parametrize(
    ("share", "status", "red"), [(0.04, "pass", False), (0.1, "pass", True), (0, "fail", True)]
)
def test_the_rule_that_is_proposed_lets_another_seed_pass(
    page: str, share: float, status: Status, red: bool, folder: Path
) -> None:
    """As of kernel_shap, whose coalitions all inputs share: every row moves the same way, by up to 5 %."""
    main(["init"])
    text = ((folder if page == NAME else DOCS) / page).read_text()
    rule = re.search(r'(?<!`)p<0[^",]*', text)[0]  # the first that is not prose
    rows = 1 + torch.rand(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before, after = verdict(rows, "pass"), verdict(rows * (1 + share), status)
    changes = compare({before.key: before}, {after.key: after})
    assert bool(list(broken(parse(f"{rule}, any:pass->fail"), changes))) == red


def test_what_is_commented_out_can_be_read_too(folder: Path) -> None:
    main(["init"])
    text = (folder / NAME).read_text()
    text = re.sub(r"^# (?=(checks|gates|claims|expected_failures):|  )", "", text, flags=re.M)
    text = re.sub(r"^  +pytest .*\n", "", text, flags=re.M)
    (folder / NAME).write_text(text)
    found = read(folder / NAME)
    assert found.gates == {"null_feature": AtMost(0.3), "insertion": Beats(0.05)}
    assert found.claims == {"completeness": True}
    assert list(found.expected_failures) == ["xattr:gradcam"]
    assert found.checks == "contract or sanity or faithfulness"
    assert len(Battery(found, found.methods).checks) > 10  # so all names in it are known


def test_every_key_of_it_is_a_setting(folder: Path) -> None:
    main(["init"])
    keys = re.findall(r"^(?:# )?(\w+):", (folder / NAME).read_text(), flags=re.M)
    assert len(keys) > 8
    assert set(keys) <= {item.name for item in fields(Settings)}


def test_it_never_overwrites(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / NAME).write_text("seed: 3\n")
    assert main(["init"]) == 2
    assert capsys.readouterr().err == (
        "xattr-check: init: xattr.yaml is there already, and is left as it is; name another file\n"
    )
    assert (folder / NAME).read_text() == "seed: 3\n"
    assert main(["init", "other.yaml"]) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["absent/xattr.yaml"],
            "init 'absent/xattr.yaml': expected a file that can be written, came No such",
        ),
        (["--method=explain"], "--method='explain': expected MODULE:CALLABLE, for example mymod:explain"),
    ],
)
def test_mistakes_are_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"xattr-check: {told}")


def test_a_spec_is_quoted(folder: Path) -> None:
    (folder / "it's: odd # one.py").write_text("def explain(model, inputs, targets): ...\n")
    assert main(["init", "--method=it's: odd # one.py:explain"]) == 0
    assert read(folder / NAME).methods == ["it's: odd # one.py:explain"]


def test_what_fails_is_accepted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(cli_accept.subprocess, "call", lambda command: asked.append(command) or 0)
    assert main(["init", "--accept"]) == 0
    (command,) = asked
    assert {"--xattr-accept", "--xattr-gates=xattr.yaml"} <= set(command)


def test_pytest_runs_it_and_compares(folder: Path) -> None:
    main(["init"])

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--xattr-gates=xattr.yaml",
            "--xattr-checks=shape",
            *options,
        ]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)

    first = run()
    assert first.returncode == 0, first.stdout
    assert "saved as" in first.stdout
    second = run("--xattr-compare")
    assert second.returncode == 0, second.stdout
    assert "  1 the same" in second.stdout
