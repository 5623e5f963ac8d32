"""The page of what units of the digits' networks detect."""

from pathlib import Path
from types import ModuleType

import torch
from subjects import images

from xattr_check import Dissection
from xattr_check.concepts.units import Units


def test_a_cell_tells_kinds_and_concepts(script: ModuleType) -> None:
    subject = images()
    units = Units.of(subject.model, subject.inputs)
    ious, rest = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.3, 0.1]]).double(), torch.ones(3)
    found = Dissection(units, ("digit/1", "digit/2", "tint/red"), 0.005, 0.04, rest, rest, ious, rest, rest)
    assert script.cell(found) == "3 digit (2)"
    nothing = Dissection(units, found.concepts, 0.005, 0.04, rest, rest, 0 * ious, rest, rest)
    assert script.cell(nothing) == "0"


def test_every_network_has_a_row_in_each_table(script: ModuleType) -> None:
    page = Path(script.__file__).parents[1] / "concepts.md"
    rows = [
        line.split("|")[1].strip() for line in page.read_text(encoding="utf-8").splitlines() if "|" in line
    ]
    names = ("object", "scene", "shuffled_labels", "spurious", "retrained", "untrained")
    assert [rows.count(name) for name in names] == [3, 3, 2, 3, 3, 2]
