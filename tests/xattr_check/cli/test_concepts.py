"""The command `xattr-check concepts`: what it prints, its files, its messages."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from subjects import columns, images
from torch import Tensor, nn

from xattr_check import Subject
from xattr_check.cli.main import main

HERE = f"{Path(__file__)}"


class Channels(nn.Module):
    """Three units, which are the channels of the input or mixtures of them, and their means."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Conv2d(3, 3, 1, bias=False)
        self.classifier = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.units(inputs).mean((2, 3)))
        return found


def planted() -> Subject:
    """Each channel shows where a concept is; the sibling mixes them, so that its units show none alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        masks = torch.zeros(30, 3, 16, 16, dtype=torch.bool)
        for image in range(30):
            for channel in range(3):
                top, left = (int(one) for one in torch.randint(0, 13, (2,)))
                masks[image, channel, top : top + 3, left : left + 3] = True
        model, mixed = Channels(), Channels()
        with torch.no_grad():
            model.units.weight.copy_(torch.eye(3)[..., None, None])
            mixed.units.weight.copy_(-torch.ones(3, 3, 1, 1))
        inputs = masks + 0.01 * torch.rand(30, 3, 16, 16)
        names = ("form/square", "form/box", "else/dot")
        whole = torch.ones(30, 16, 16, dtype=torch.bool)
        concepts = {name: masks[:, number] for number, name in enumerate(names)} | {"else/all": whole}
        targets = model(inputs).argmax(1)
    return Subject("planted", model, inputs, targets, siblings={"mixed": mixed}, concepts=concepts)


def odd_images() -> Subject:
    return images()


def odd_columns() -> Subject:
    subject = columns()
    concepts = {"odd": torch.ones(12, 6, dtype=torch.bool)}
    return Subject("odd", subject.model, subject.inputs, subject.targets, concepts=concepts)


SPEC = f"{HERE}:planted"


def test_networks_stand_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["concepts", SPEC]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "planted: 3 units of units, 4 concepts on 30 inputs; a detector has an IoU of",
        "0.04 or more",
    ]
    assert lines[3].split() == ["network", "detectors", "concepts", "form", "else", "best", "IoU"]
    rows = {line.split()[0]: line.split()[1:5] for line in lines[4:7]}
    assert rows["model"] == ["3", "3", "2", "1"]
    assert rows["mixed"] == ["0", "0", "0", "0"]
    assert "untrained" in rows
    assert lines[8] == "detectors of the model, and the best of each concept"
    assert sorted(line.split()[:2] for line in lines[9:12]) == [
        [name, "1"] for name in ("else/dot", "form/box", "form/square")
    ]
    assert lines[-1] == "too large for any unit to detect: else/all"
    assert all(len(line) <= 80 for line in lines)


def test_as_json_unit_by_unit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["concepts", SPEC, "--json", "--quantile", "0.03", "--threshold", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["subject"], found["inputs"], found["threshold"], found["quantile"]) == (
        "planted",
        30,
        0.5,
        0.03,
    )
    assert [one["name"] for one in found["concepts"]] == ["form/square", "form/box", "else/dot", "else/all"]
    networks = {one["name"]: one for one in found["networks"]}
    assert list(networks) == ["model", "mixed", "untrained"]
    assert networks["model"]["counts"] == {"form/square": 1, "form/box": 1, "else/dot": 1}
    assert [unit["concept"] for unit in networks["model"]["units"]] == ["form/square", "form/box", "else/dot"]
    assert min(unit["iou"] for unit in networks["model"]["units"]) > 0.8
    assert {unit["concept"] for unit in networks["mixed"]["units"]} == {None}


def test_checkpoints_follow_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subject = planted()
    save_file(subject.siblings["mixed"].state_dict(), tmp_path / "first.safetensors")
    torch.save(subject.model.state_dict(), tmp_path / "second.pt")
    files = [str(tmp_path / name) for name in ("first.safetensors", "second.pt")]
    assert main(["concepts", SPEC, "--json", *(f"--checkpoint={file}" for file in files)]) == 0
    networks = json.loads(capsys.readouterr().out)["networks"]
    assert [(one["name"], one["detectors"]) for one in networks[-2:]] == [(files[0], 0), (files[1], 3)]


def test_the_page_needs_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "concepts.html"
    assert main(["concepts", SPEC, "--html", str(page)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {page.as_uri()}"
    text = page.read_text(encoding="utf-8")
    assert '3 of 3 units of <span class="method">units</span> detect 3 of 4 concepts' in text
    assert text.count("data:image/webp;base64,") == 2
    assert "http://" not in text
    assert "https://" not in text
    assert "no unit can detect them: else/all" in text


def odd_sibling() -> Subject:
    subject = planted()
    linear = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3 * 64, 3))
    return replace(subject, siblings={"linear": linear})


def test_a_sibling_of_another_architecture_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["concepts", f"{HERE}:odd_sibling", "--layer=units"]) == 0
    told = capsys.readouterr().out
    assert "\nlinear: layer 'units': expected a module of the model, for example one of 0" in told
    assert "\nmodel " in told


def test_a_page_without_any_detector(tmp_path: Path) -> None:
    page = tmp_path / "concepts.html"
    assert main(["concepts", SPEC, "--threshold=2", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "No unit of any network detects a concept." in text
    assert text.count("data:image/webp;base64,") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [f"{HERE}:odd_images"],
            "subject 'images': expected concepts, came none; give it Subject(…, concepts={NAME: mask}), a "
            "mask (N, H, W) bool for each",
        ),
        (
            [f"{HERE}:odd_columns"],
            "expected images (N, C, H, W), signals or volumes, came columns (12, 6)",
        ),
        (
            [SPEC, "--layer=unit"],
            "layer 'unit': expected a module of the model, for example one of units, classifier",
        ),
        (
            [SPEC, "--layer=classifier"],
            "layer 'classifier': expected one that returns (N, K, *cells) with more than one cell, "
            "came (1, 3)",
        ),
        ([SPEC, "--quantile=7"], "quantile=7: expected a share above 0 and below 1"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["concepts", *arguments]) == 2
    assert capsys.readouterr().err == f"xattr-check: {sentence}\n"


def test_files_without_fitting_weights_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "weights.pt"
    assert main(["concepts", SPEC, f"--checkpoint={file}"]) == 2
    assert capsys.readouterr().err.startswith(f"xattr-check: --checkpoint='{file}': expected weights, came ")
    torch.save(torch.ones(2), file)
    assert main(["concepts", SPEC, f"--checkpoint={file}"]) == 2
    assert capsys.readouterr().err == (
        f"xattr-check: --checkpoint='{file}': expected a state_dict, came Tensor\n"
    )
    torch.save({"odd": torch.ones(2)}, file)
    assert main(["concepts", SPEC, f"--checkpoint={file}"]) == 2
    assert f"xattr-check: checkpoint '{file}': its weights do not fit the model; " in capsys.readouterr().err
