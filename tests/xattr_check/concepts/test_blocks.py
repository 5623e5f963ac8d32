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
    blocks = Blocks(cells, spatial, maps.device)
    runs = blocks.above(maps, cutoffs)
    counts = torch.zeros(6, dtype=torch.int64).index_add_(0, runs.maps, runs.counts())
    assert counts.tolist() == expected.flatten(1).sum(1).tolist()
    sums = blocks.sums(masks)
    common = runs.within(torch.arange(len(runs.maps)), runs.maps, sums)
    both = torch.zeros(6, dtype=torch.int64).index_add_(0, runs.maps, common)
    assert both.tolist() == (expected & masks).flatten(1).sum(1).tolist()
    assert not common[~blocks.touched(sums)[runs.maps, runs.blocks]].any()


@pytest.mark.parametrize(("cells", "spatial"), SIZES)
def test_a_mask_of_one_feature_touches_one_block(cells: tuple[int, ...], spatial: tuple[int, ...]) -> None:
    count = torch.Size(spatial).numel()
    masks = torch.eye(count, dtype=torch.bool).reshape(count, *spatial)
    blocks = Blocks(cells, spatial, masks.device)
    touched = blocks.touched(blocks.sums(masks))
    assert touched.shape == (count, blocks.count)
    assert touched.sum(1).tolist() == [1] * count
    assert touched.any(0).all()


def test_features_at_which_a_map_equals_its_cutoff_do_not_exceed_it() -> None:
    maps = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    # Of four features two lie at ¼ and at ¾ between the cells, and one beyond each of them.
    runs = Blocks((2,), (4,), maps.device).above(maps, torch.tensor([0.25, 0.75, 1.0]))
    found = torch.stack([runs.maps[runs.of], runs.starts, runs.stops], 1)[runs.stops > runs.starts]
    assert found.tolist() == [[0, 2, 3], [0, 3, 4], [1, 0, 1]]


def test_few_blocks_of_a_map_with_one_high_cell_are_computed() -> None:
    maps = torch.zeros(1, 7, 7)
    maps[0, 3, 3] = 1.0
    runs = Blocks((7, 7), (224, 224), maps.device).above(maps, torch.tensor([0.5]))
    assert len(runs.maps) == len(set(runs.blocks.tolist())) == 4
    assert len(runs.of) < 4 * 32  # a line of each row of them, where it exceeds the value at all
