"""The sheets of maps that the site shows."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from subjects import images
from torch import Tensor


def test_an_input_and_each_map_have_a_tile(script: ModuleType) -> None:
    names = ("gradient", "pathway_gradient?selection=dgr&iterations=2", "iba?steps=2", "occlusion")
    alone = script.drawn(images(), 0, names[:3])
    assert alone.width > alone.height
    more = script.drawn(images(), 0, names)
    assert more.width == alone.width
    assert more.height > alone.height
    pixels = np.asarray(more)
    # Nothing of the second row but one tile, at the left.
    assert bool((pixels[alone.height :, script.TILE + 4 * script.GAP :] == 255).all())
    assert not bool((pixels[alone.height :] == 255).all())


def test_a_caption_has_room(script: ModuleType) -> None:
    tile = script.captioned(np.zeros((8, 8, 3), np.uint8), "a", "b", "c", "d")
    assert tile.width == script.TILE + 2
    pixels = np.asarray(tile)
    # The frame is grey, what is shown is black, and no letter is on it.
    assert bool((pixels[-script.TILE - 1 : -1, 1:-1] == 0).all())


@pytest.mark.parametrize("shape", [(30, 50), (50, 30, 3), (64, 64, 4)])
def test_photographs_are_shrunk_to_their_middle(script: ModuleType, shape: tuple[int, ...]) -> None:
    photograph: Tensor = torch.full(shape, 7, dtype=torch.uint8)
    found = script.shrunk(photograph)
    assert found.shape == (1, 3, script.SIDE, script.SIDE)
    assert set(found.unique().tolist()) == {7}


def test_the_network_knows_the_photograph_that_is_shown(script: ModuleType) -> None:
    subject, row = script.photographs(), script.PHOTOGRAPHS.index("rocket")
    assert int(subject.model(subject.inputs[row : row + 1]).argmax()) == row


def test_pages_show_the_sheets_there_are(script: ModuleType) -> None:
    pages = [Path(script.__file__).parents[1] / name for name in ("bits.md", "concepts.md")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    shown = [line.split()[2].rstrip(",") for line in lines if line.startswith("<!-- maps: ")]
    assert shown == list(script.SHEETS)


def test_every_method_of_the_families_is_shown(script: ModuleType) -> None:
    names = {name.partition("?")[0] for name in script.ALL} | {"regression_iba"}
    folders = [Path(script.__file__).parents[2] / "plugins" / "xattr_methods" / "information"]
    files = {path.stem for folder in folders for path in folder.glob("[a-z]*.py")}
    assert files <= names
    assert set(script.SELECTIONS) == {"neuron_mct", "neuron_intgrad", "dgr", "greedy_pruning"}
