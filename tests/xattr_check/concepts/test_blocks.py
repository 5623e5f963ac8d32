"""Maps above a value, block by block, held against torch's interpolation of all of them."""

import pytest
import torch
from torch.nn import functional

from xattr_check.concepts.blocks import Blocks

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
SIZES = [
    ((5,), (17,)), ((7, 7), (28, 28)), ((3, 5), (10, 21)), ((4, 4), (4, 4)), ((1, 6), (5, 12)),
    ((9, 9), (6, 7)), ((2, 3, 4), (6, 5, 8)),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "spatial"), SIZES)
def test_all_features_above_a_value_are_found(cells: tuple[int, ...], spatial: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(6, *cells, dtype=torch.float64, generator=generator)
    cutoffs = torch.linspace(-1, 2, 6, dtype=torch.float64)
    masks = torch.rand(6, *spatial, generator=generator) > 0.5
    large = functional.interpolate(maps[:, None], size=spatial, mode=MODES[len(cells)])[:, 0]
    expected = large > cutoffs.reshape(-1, *[1] * len(cells))
    blocks = Blocks(cells, spatial, maps)
    which, block, marked = blocks.above(maps, cutoffs)
    counts = torch.zeros(6, dtype=torch.int64).index_add_(0, which, marked.sum(1))
    assert counts.tolist() == expected.flatten(1).sum(1).tolist()
    common = (marked & blocks.of_masks(masks)[which, block]).sum(1)
    both = torch.zeros(6, dtype=torch.int64).index_add_(0, which, common)
    assert both.tolist() == (expected & masks).flatten(1).sum(1).tolist()
    whole = blocks.of_masks(torch.ones(6, *spatial, dtype=torch.bool))
    assert whole.flatten(1).sum(1).tolist() == [torch.Size(spatial).numel()] * 6


def test_few_blocks_of_a_map_with_one_high_cell_are_computed() -> None:
    maps = torch.zeros(1, 7, 7)
    maps[0, 3, 3] = 1.0
    which, block, marked = Blocks((7, 7), (224, 224), maps).above(maps, torch.tensor([0.5]))
    assert len(which) == len(set(block.tolist())) == 4
    assert marked.shape == (4, 32 * 32)
