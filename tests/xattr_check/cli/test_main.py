"""The command `xattr-check`, and the generated reference."""

import json
from pathlib import Path

import pytest
from torch import Tensor, nn

from xattr_check import AtLeast, Draw, Explainer, Measurement, Subject, axiom, fixture, method
from xattr_check.cli.main import COMMANDS, main
from xattr_check.core import registry
from xattr_check.report import reference


def test_lists_say_each_name_with_its_statement(capsys: pytest.CaptureFixture[str]) -> None:
    for kind, known in (
        ("methods", registry.methods()),
        ("checks", registry.checks()),
        ("subjects", registry.subjects()),
    ):
        assert main(["list", kind]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(known)
        assert all(len(line.split()) > 3 for line in lines), "each has a statement"


def test_lists_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "checks", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["completeness"]["claimed"] is True
    assert found["completeness"]["family"] == "exact"
    assert main(["list", "methods", "--json"]) == 0
    methods = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert methods["random"]["control"] == "negative"
    assert "steps" in methods["integrated_gradients"]["parameters"]


def test_show_tells_of_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "completeness"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == "completeness"
    assert "family     exact" in lines
    assert "gates      methods that claim it" in lines
    assert any(line.startswith("gate       ≤ ") for line in lines)
    assert registry.checks()["completeness"].statement.split(".")[0] in " ".join(text.split())


@pytest.mark.parametrize("name", ["deletion", "shape", "parameter_randomization"])
def test_show_works_for_every_family(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 0
    assert capsys.readouterr().out.startswith(f"{name}\n")


def test_mistakes_are_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["show", "delet"]) == 2
    assert capsys.readouterr().err == (
        "xattr-check: show 'delet': no check of that name; the nearest are deletion\n"
    )
    assert main(["reference", "--write", str(tmp_path)]) == 2
    assert "expected a file that can be written, came Is a directory" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["list", "nothing"])
    assert stopped.value.code == 2


def test_reference_has_all_that_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "reference.md"
    assert main(["reference", "--write", str(path)]) == 0
    assert capsys.readouterr().out == f"written to {path}\n"
    headings = {line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#")}
    assert headings >= {*registry.methods(), *registry.checks(), *registry.subjects()}


def test_the_reference_of_made_up_things_is_well_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether docs/reference.md is what the code generates is told by `make stale`."""

    @axiom(statement="Maps are made up.", family="invented", gate=AtLeast(0.5), reads="share")
    def made_up(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
        """What a row is."""
        raise AssertionError("never measured")

    @method(claims=("made_up",))
    def invented(model: nn.Module, inputs: Tensor, targets: Tensor, *, steps: int = 3) -> Tensor:
        """A map that is made up."""
        return inputs

    @fixture
    def nowhere() -> Subject:
        """A subject that is made up."""
        raise AssertionError("never made")

    for kind, one in (("checks", made_up), ("methods", invented), ("subjects", nowhere)):
        monkeypatch.setattr(registry, kind, lambda one=one: {one.name: one})
    page = reference.document()
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        *("# Reference", "## Checks", "### invented", "#### made_up"),
        *("## Methods", "#### invented", "### Controls", "## Subjects", "### nowhere"),
    ]
    assert reference.COMMAND in page


def test_every_command_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "pytest.md").read_text(encoding="utf-8")
    section = text.partition("\n## The command\n")[2].partition("\n## ")[0]
    assert [name for name in COMMANDS if f"`{name}" not in section] == []
