"""Regions as numbers: outputs under gains against single images."""

import itertools

import pytest
import torch
from subjects import columns, images, tokens

from xattr_check.core.layouts import grid
from xattr_check.perturbation.regions import SemanticMap

KINDS = {"images": images, "columns": columns, "tokens": tokens}


def regions_of(kind: str) -> SemanticMap:
    subject = KINDS[kind]()
    return SemanticMap.of(grid(subject.spatial, 3)[None])


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_under_gains_one_by_one(kind: str) -> None:
    subject, regions = KINDS[kind](), regions_of(kind)
    fill = subject.inputs.mean(0, keepdim=True).expand_as(subject.inputs)
    gains = 2 * torch.rand(7, regions.count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = regions.outputs(
        subject.model,
        subject.inputs,
        subject.targets,
        fill,
        gains,
        output="logit",
        memory=2**20,
        layout=subject.layout,
    )
    with torch.no_grad():
        for k, gain in enumerate(gains):
            for n, target in enumerate(subject.targets):
                given = subject.inputs[n].clone()
                for place in itertools.product(*map(range, subject.spatial)):
                    numbers = (slice(None), *place) if subject.is_image else place
                    change = subject.inputs[n][numbers] - fill[n][numbers]
                    given[numbers] = fill[n][numbers] + gain[regions.index[0][place]] * change
                assert float(subject.model(given[None])[0, target]) == pytest.approx(
                    float(found[n, k]), abs=1e-4
                )


def test_a_grid_is_as_even_as_it_can_be() -> None:
    regions = SemanticMap.of(grid((32, 30), 4)[None])
    assert regions.index.shape == (1, 32, 30)
    assert regions.index[0, 0].tolist() == [0] * 8 + [1] * 7 + [2] * 8 + [3] * 7
    assert regions.index[0, :, 0].tolist() == [0] * 8 + [4] * 8 + [8] * 8 + [12] * 8
    for spatial in ((5,), (3, 2)):
        assert len(grid(spatial, 16).unique()) == SemanticMap.single(spatial).count


def test_masks_leave_a_rest() -> None:
    masks = torch.zeros(2, 2, 4, 4, dtype=torch.bool)
    masks[0, 0, :2], masks[0, 1, 3], masks[1, 0, 0, 0] = True, True, True
    regions = SemanticMap.masks(masks)
    assert regions.count == 3
    assert regions.index[0, :, 0].tolist() == [1, 1, 0, 2]
    assert regions.index[1].sum() == 1
    masks[0, 1, 0] = True
    with pytest.raises(ValueError, match="expected masks that do not overlap, came some features in several"):
        SemanticMap.masks(masks)


def test_superpixels_keep_to_edges() -> None:
    pictures = torch.zeros(2, 3, 24, 24)
    pictures[0, :, :, 11:], pictures[1, :, 7:] = 1, 1
    regions = SemanticMap.superpixels(pictures, 6)
    assert regions.index.shape == (2, 24, 24)
    assert regions.count == 6
    assert all(4 <= len(index.unique()) <= 6 for index in regions.index)
    for picture, index in zip(pictures[:, 0], regions.index, strict=True):
        for region in index.unique():
            assert len(picture[index == region].unique()) == 1


def test_regions_of_each_input_are_their_own() -> None:
    """Sums and gains go by the row, and a region that an input does not have changes nothing."""
    ids = torch.tensor([[5, 5, 9], [9, 7, 7]])
    regions = SemanticMap.of(ids)
    scores = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    assert regions.sums(scores).tolist() == [[3, 0, 4], [0, 6, 1]]
    gains = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    assert regions.shares(gains, torch.tensor([0, 1])).tolist() == [[0, 0, 2], [2, 1, 1]]


def test_nearby_regions_follow_each_other() -> None:
    """Of 8 × 8 cells, runs of 4 and of 16 are squares; of columns, each follows the one before it."""
    regions = SemanticMap.of(grid((28, 28), 8)[None])
    (order,) = regions.nearby()
    assert order.sort().values.tolist() == list(range(64))
    places = torch.stack([order // 8, order % 8], 1)
    for size, side in ((4, 2), (16, 4)):
        for run in places.split(size):
            assert (run.amax(0) - run.amin(0) + 1).tolist() == [side, side]
    assert SemanticMap.single((9,)).nearby()[0].tolist() == list(range(9))


def test_regions_that_an_input_lacks_come_last() -> None:
    regions = SemanticMap(torch.tensor([[2, 0, 0], [0, 1, 2]]), 3, own=True)
    assert regions.nearby().tolist() == [[2, 0, 1], [0, 1, 2]]
    assert regions.centres()[0, :, 0].isnan().tolist() == [False, True, False]
