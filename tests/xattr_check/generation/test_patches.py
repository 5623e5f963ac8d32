from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xattr_check import UsageError
from xattr_check.generation.patches import paste, patch_mask, place


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apart(one: list[int], other: list[int], side: int, gap: int) -> bool:
    return any(abs(a - b) >= side + gap for a, b in zip(one, other, strict=True))


def check_rows(places: Tensor, side: int, size: tuple[int, int], gap: int) -> None:
    for row in places.tolist():
        for feature, where in enumerate(row):
            assert all(0 <= at <= extent - side for at, extent in zip(where, size, strict=True))
            assert all(apart(where, other, side, gap) for other in row[:feature])


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, int, tuple[int, int]]:
    """Features, side, gap and a size into which a grid of them fits, often tightly."""
    features, side, gap = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(0, 4))
    rows = draw(st.integers(1, features))
    columns = -(-features // rows)
    slack = st.one_of(st.just(0), st.integers(0, 20))
    height, width = (count * (side + gap) - gap + draw(slack) for count in (rows, columns))
    return features, side, gap, (height, width)


@given(layouts(), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_patches_keep_apart_and_inside(layout: tuple[int, int, int, tuple[int, int]], seed: int) -> None:
    features, side, gap, size = layout
    places = place(5, features, side, size, seeded(seed), gap=gap)
    assert places.shape == (5, features, 2)
    assert places.dtype == torch.int64
    check_rows(places, side, size, gap)
    assert torch.equal(places, place(5, features, side, size, seeded(seed), gap=gap))


@given(layouts(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_together_they_move_as_a_whole(layout: tuple[int, int, int, tuple[int, int]], seed: int) -> None:
    features, side, _, size = layout
    places = place(5, features, side, size, seeded(seed), together=True)
    check_rows(places, side, size, 0)
    offsets = places - places[:, :1]
    assert torch.equal(offsets, offsets[:1].expand_as(offsets))
    # Side by side: each touches another.
    for feature in range(1, features):
        steps = (offsets[0, feature] - offsets[0, :feature]).abs().sum(1)
        assert side in steps.tolist()


def feasible(size: tuple[int, int], features: int, side: int, gap: int) -> set[tuple[tuple[int, int], ...]]:
    """All ordered arrangements, by brute force."""
    cells = [(top, left) for top in range(size[0] - side + 1) for left in range(size[1] - side + 1)]
    found: list[tuple[tuple[int, int], ...]] = [()]
    for _ in range(features):
        found = [
            (*row, cell)
            for row in found
            for cell in cells
            if all(apart(list(cell), list(other), side, gap) for other in row)
        ]
    return set(found)


@pytest.mark.parametrize(
    ("size", "features", "side", "gap"),
    [((5, 6), 1, 2, 1), ((6, 7), 2, 2, 0), ((6, 6), 2, 2, 1), ((3, 9), 2, 3, 1), ((4, 5), 3, 2, 0)],
)
def test_every_arrangement_is_reached(size: tuple[int, int], features: int, side: int, gap: int) -> None:
    rows = place(12_000, features, side, size, seeded(), gap=gap).tolist()
    found = {tuple(map(tuple, row)) for row in rows}
    assert found == feasible(size, features, side, gap)


@pytest.mark.parametrize("features", [2, 3, 4])
def test_no_feature_has_a_place_of_its_own(features: int) -> None:
    """Which of them is above or to the left of another is a matter of chance."""
    places = place(2000, features, 3, (16, 16), seeded(), gap=1).double()
    middle = places.mean((0, 1))
    assert (places.mean(0) - middle).abs().max() < 0.4
    # Neither axis is favoured, nor either end.
    assert (middle - 6.5).abs().max() < 0.4


def test_together_every_corner_is_reached() -> None:
    rows = place(500, 2, 3, (5, 9), seeded(), together=True)[:, 0].tolist()
    assert set(Counter(map(tuple, rows))) == {(top, left) for top in range(3) for left in range(4)}


@pytest.mark.parametrize(
    ("features", "size", "offsets"),
    [
        (2, (4, 8), [[0, 0], [0, 4]]),
        (2, (8, 4), [[0, 0], [4, 0]]),
        (3, (8, 8), [[0, 0], [0, 4], [4, 0]]),
        (4, (8, 12), [[0, 0], [0, 4], [0, 8], [4, 0]]),
    ],
)
def test_tight_arrangements(features: int, size: tuple[int, int], offsets: list[list[int]]) -> None:
    assert place(1, features, 4, size, seeded(), together=True)[0].tolist() == offsets


CROWDED = "patch=5: 2 patches cannot be kept apart in 8×8 inputs; choose a smaller patch"


@pytest.mark.parametrize(
    ("features", "side", "size", "gap", "together", "message"),
    [
        (1, 9, (8, 20), 0, False, "patch=9: expected at most 8 pixels, the smaller side of 8×20 inputs"),
        (2, 9, (8, 20), 0, True, "patch=9: expected at most 8 pixels, the smaller side of 8×20 inputs"),
        (2, 5, (8, 8), 0, False, CROWDED),
        (2, 5, (8, 8), 0, True, CROWDED),
        (
            3, 4, (8, 8), 2, False,
            "patch=4: 3 patches cannot be kept apart with 2 pixels between them in 8×8 inputs; "
            "choose a smaller patch",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit(
    features: int, side: int, size: tuple[int, int], gap: int, together: bool, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        place(1, features, side, size, seeded(), gap=gap, together=together)
    assert str(raised.value) == message


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(5, 9), st.integers(5, 9), st.data()
)
@settings(max_examples=50, deadline=None)
def test_paste_and_mask_are_slices(
    count: int, channels: int, side: int, height: int, width: int, data: st.DataObject
) -> None:
    corner = st.tuples(st.integers(0, height - side), st.integers(0, width - side))
    places = torch.tensor(data.draw(st.lists(corner, min_size=count, max_size=count)))
    images = torch.arange(count * channels * height * width).reshape(count, channels, height, width).double()
    patches = (
        -torch.arange(1, count * channels * side * side + 1).reshape(count, channels, side, side).double()
    )
    expected, mask = images.clone(), torch.zeros(count, 1, height, width, dtype=torch.bool)
    for row, (top, left) in enumerate(places.tolist()):
        expected[row, :, top : top + side, left : left + side] = patches[row]
        mask[row, :, top : top + side, left : left + side] = True
    before = images.clone()
    assert torch.equal(paste(images, patches, places), expected)
    assert torch.equal(images, before)
    assert torch.equal(patch_mask(places, side, (height, width)), mask)


def test_gradients_of_a_paste() -> None:
    generator = seeded()
    images = torch.randn(3, 2, 6, 7, generator=generator).requires_grad_()
    patches = torch.randn(3, 2, 3, 3, generator=generator).requires_grad_()
    places = torch.tensor([[0, 0], [2, 1], [3, 4]])
    weight = torch.randn(3, 2, 6, 7, generator=generator)
    (paste(images, patches, places) * weight).sum().backward()
    inside = patch_mask(places, 3, (6, 7))
    assert images.grad is not None
    assert patches.grad is not None
    assert torch.equal(images.grad, weight * ~inside)
    assert torch.equal(patches.grad.flatten(), weight[inside.expand_as(weight)])
