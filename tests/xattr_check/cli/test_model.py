"""The command `xattr-check model`: what it prints, its file, its messages."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from subjects import columns
from torch import Tensor, nn

from xattr_check import Subject
from xattr_check.cli.main import main
from xattr_check.report.uses import percent
from xattr_check.statistics.paired import Figure

HERE = f"{Path(__file__)}"


class Middle(nn.Module):
    """The brightness of the middle, or of the rest: (N, 3, 8, 8) -> (N, 2)."""

    def __init__(self, inside: bool) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, inputs: Tensor) -> Tensor:
        middle = inputs[:, :, 2:6, 2:6].sum((1, 2, 3))
        seen = middle if self.inside else inputs.sum((1, 2, 3)) - middle
        return torch.stack([seen, -seen], 1)


def planted() -> Subject:
    inputs = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(6, 8, 8, dtype=torch.bool)
    mask[:, 2:6, 2:6] = True
    model = Middle(True)
    return Subject(
        "planted", model, inputs, model(inputs).argmax(1), truth={"mask": mask},
        siblings={"trained_on_shuffled_labels": Middle(False)},
    )  # fmt: skip


def unmasked() -> Subject:
    return replace(planted(), truth={})


def plain() -> Subject:
    return columns()


SPEC = f"{HERE}:planted"
OPTIONS = ["--grids=2", "-n", "3", "--samples", "16"]


def test_networks_stand_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", SPEC, *OPTIONS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "planted: what its networks use, 3 inputs, 16 samples of the gains"
    assert lines[2] == "grid:2, 4 regions, 96 forwards for each input"
    assert lines[3].split() == ["network", "S₁/S_T", "above", "1", "noise", "beyond"]
    assert [line.split()[0] for line in lines[4:6]] == ["model", "trained_on_shuffled_lab…"]
    assert lines[7] == "mask, S_T of background and foreground, 64 forwards for each input"
    assert lines[9].split()[1:4] == ["0.00", "±", "0.00"]
    assert lines[10].split()[4:7] == ["0.00", "±", "0.00"]
    assert lines[-1] == "± is half of an interval at 95 % over inputs."
    assert "`above 1` are errors of estimates, since gains are independent" in " ".join(lines)
    assert all(len(line) <= 80 for line in lines)


def test_a_subject_without_masks_or_siblings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", f"{HERE}:plain", "-n", "2", "--samples", "8"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "columns, 6 regions, 64 forwards for each input" in told
    assert "mask" not in told
    assert "S₁₂" not in told


def test_figures_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.json"
    assert main(["model", SPEC, *OPTIONS, "--networks=model", "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert (found["subject"], found["inputs"], found["samples"]) == ("planted", 3, 16)
    (network,) = found["networks"]
    assert [one["regions"] for one in network["ratios"]] == ["grid:2"]
    names, gap = network["pairs"][0]["names"], network["pairs"][0]["gap"]
    assert names == ["background", "foreground"]
    assert gap["interval"][0] <= gap["value"] <= gap["interval"][1]
    assert gap["value"] > 0.7


def test_regions_are_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The middle has four of 16 cells, and the rest of an image the others."""
    file = tmp_path / "decided.json"
    given = ["model", SPEC, "--decide=top:4", "--grids=4", "-n", "2", "--samples=128", "--json", str(file)]
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "planted: regions top:4 of S_T, 2 inputs, 128 samples of the gains"
    assert lines[2] == "grid:4, 16 regions, 2304 forwards for each input where all are asked for"
    assert lines[3].split() == ["network", "input", "forwards", "sure", "regions"]
    rows = [line.split() for line in lines[4:8]]
    assert [row[0] for row in rows] == ["model"] * 2 + ["trained_on_shuffled_lab…"] * 2
    middle = ["1,1", "1,2", "2,1", "2,2"]
    for row in rows[:2]:
        assert row[6:] == middle
        assert row[3:6] == ["4", "of", "4"]
        assert int(row[2]) < 2304
    for row in rows[2:]:
        assert not set(row[6:]) & set(middle)
    assert lines[-1].endswith("--samples tell.")
    assert all(len(line) <= 80 for line in lines)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert (found["question"], found["found"][0]["sides"]) == ("top:4", [4, 4])
    (one, _) = found["found"][0]["inputs"]
    assert one["chosen"] == one["sure"] == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert (str(one["input"]), str(one["forwards"]), one["of_all"]) == (*rows[0][1:3], 2304)


def test_columns_are_decided_by_number_and_long_answers_are_wrapped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["model", f"{HERE}:plain", "--decide=top:2", "-n", "1", "--samples=16"]) == 0
    row = capsys.readouterr().out.splitlines()[4].split()
    assert all(0 <= int(number) < 6 for number in row[6:])
    assert len(row[6:]) == 2
    assert main(["model", SPEC, "--decide=above:0", "-n", "1", "--grids=8", "--samples=64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[5]) - len(lines[5].lstrip()) == lines[3].index("regions")
    assert all(len(line) <= 80 for line in lines)
    assert main(["model", SPEC, "--decide=above:0.9", "-n", "1", "--grids=2", "--samples=16"]) == 0
    assert capsys.readouterr().out.splitlines()[4].endswith("0 of 0  none")


def test_the_page_has_a_chart_of_all_networks_for_each_kind_of_regions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "model.html"
    assert main(["model", SPEC, *OPTIONS, "--grids=2,4", "--html", str(page)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {page.as_uri()}"
    text = page.read_text(encoding="utf-8")
    assert "What 2 networks use of 3 inputs" in text
    labels = re.findall(r'<svg role="img" aria-label="([^"]*)"', text)
    assert [label.partition(": ")[0] for label in labels] == [
        "S₁/S_T over the fifth of the regions with the largest S_T",
        *["S_T, the share of the output's variance"] * 2,
    ]
    shares = re.findall(r"(model|trained_on_shuffled_labels) (background|foreground) ([-.e0-9]+)", labels[1])
    assert [float(share) > 0.5 for _, _, share in shares] == [False, True, True, False]
    assert all(f">{kind}<" in text for kind in ("grid:2, 4 regions", "grid:4, 16 regions", "background"))
    assert "“above 1” are errors of estimates" in text
    assert not re.search('(?:src|href)="(?!data:|#)', text)


def test_a_page_of_columns_is_asked_for_no_pairs(tmp_path: Path) -> None:
    page = tmp_path / "model.html"
    assert main(["model", f"{HERE}:plain", "-n", "1", "--samples", "8", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "What 1 network uses of 1 input<" in text
    assert "mask:" not in text
    assert text.count("<svg ") == 1


def test_a_page_of_images_without_masks_says_so(tmp_path: Path) -> None:
    page = tmp_path / "model.html"
    assert main(["model", f"{HERE}:unmasked", *OPTIONS, "--html", str(page)]) == 0
    assert "mask: what is foreground is not known of planted" in page.read_text(encoding="utf-8")


def test_one_input_has_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.json"
    assert main(["model", f"{HERE}:plain", "-n", "1", "--samples", "8", "--json", str(file)]) == 0
    assert "0.00" not in capsys.readouterr().out
    (network,) = json.loads(file.read_text(encoding="utf-8"), parse_constant=pytest.fail)["networks"]
    assert network["ratios"][0]["ratio"]["interval"] is None


def test_a_share_of_nothing_is_a_dash() -> None:
    assert percent(Figure(torch.zeros(2), torch.zeros(2))) == "–"
    assert percent(Figure(torch.ones(2), 2 * torch.ones(2))) == "50 %"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [SPEC, "--networks=robust"],
            "networks 'robust': expected some of model, trained_on_shuffled_labels",
        ),
        ([SPEC, "--samples=50"], "samples=50: expected a power of two, 2 or more"),
        ([SPEC, "--grids=0"], "grids=[0]: expected cells of at least 1"),
        (
            [SPEC, "--decide=top:5", "--grids=2"],
            "expected decide 'top:K' with K of 1 to 4, or 'above:SHARE' with a share from 0 and below 1, "
            "came 'top:5'",
        ),
        ([SPEC, "--decide=top:1", "--html=a.html"], "--html: expected --json, came --decide beside it"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", *arguments]) == 2
    assert capsys.readouterr().err == f"xattr-check: {sentence}\n"


def test_cells_that_are_no_numbers_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["model", SPEC, "--grids=four"])
    assert "argument --grids: expected numbers such as 4,8, came 'four'" in capsys.readouterr().err
