"""Pictures of units and of what an output depends on."""

import numpy as np
import torch
from torch import Tensor, nn

from xattr_check import Subject, network_dissection, semantic_attribution
from xattr_check.report.concepts import beyond_reach, distinct, one_of_each
from xattr_check.report.pictures import OUTLINES
from xattr_check.report.units import attribution_sheet, units_sheet


class Means(nn.Module):
    """Units that are the channels of the input, and their means."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.units(inputs).mean((2, 3))
        return found


def planted() -> Subject:
    masks = torch.zeros(20, 3, 16, 16, dtype=torch.bool)
    for image in range(20):
        masks[image, 0, image % 12 : image % 12 + 4, 2:6] = True
        masks[image, 1, 3:8, image % 10 : image % 10 + 5] = image < 3
    return Subject(
        "planted",
        Means(),
        masks.float() + 0.1,
        torch.arange(20) % 3,
        concepts={"long": masks[:, 0], "rare": masks[:, 1]},
    )


def test_each_unit_has_a_row_and_outlines() -> None:
    subject = planted()
    found = network_dissection(subject.model, subject.inputs, subject.concepts)
    assert found.names == ("long", "rare", "")
    assert sorted(distinct(found)) == [0, 1]
    one, both = (units_sheet(subject, found, units, "title") for units in ([0], [0, 1]))
    assert both.width == one.width
    assert both.height > 1.5 * one.height - 100
    pixels = np.asarray(one).reshape(-1, 3)
    # A copy of a mask is on where the concept is, whose outline is drawn last.
    assert bool((pixels == OUTLINES[1]).all(1).any())
    assert not bool((pixels == OUTLINES[0]).all(1).any())


def test_each_input_has_a_row_of_maps() -> None:
    subject = planted()
    found = network_dissection(subject.model, subject.inputs, subject.concepts)
    index = one_of_each(subject)
    assert index.tolist() == [0, 1, 2]
    shown = semantic_attribution(subject.model, subject.inputs[index], subject.targets[index], found)
    wide, narrow = (attribution_sheet(subject, shown, index, "title", most) for most in (3, 1))
    assert wide.width > narrow.width
    assert abs(wide.height - narrow.height) < 40  # of the foot, which is wrapped


def test_concepts_beyond_reach_are_those_that_cover_much() -> None:
    subject = planted()
    concepts = {**subject.concepts, "all": torch.ones(20, 1, 16, 16, dtype=torch.bool)}
    found = network_dissection(subject.model, subject.inputs, concepts)
    assert beyond_reach(found) == ["all"]
