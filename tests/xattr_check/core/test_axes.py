"""What the axes of images, columns and tokens mean."""

import itertools

import pytest
import torch
from torch import Tensor

from xattr_check.core.axes import Layout, grid, layout_of

# Inputs, and which of their axes are features: the others are the numbers of a feature.
KINDS = {
    "images": (torch.randn(2, 3, 4, 5), (2, 3)),
    "columns": (torch.randn(3, 6), (1,)),
    "tokens": (torch.randn(2, 5, 3), (1,)),
    "others": (torch.randn(2, 2, 3, 2, 2), (1, 2, 3, 4)),
}
each_kind = pytest.mark.parametrize(("inputs", "features"), KINDS.values(), ids=KINDS)


@each_kind
def test_shapes(inputs: Tensor, features: tuple[int, ...]) -> None:
    layout = layout_of(inputs)
    assert layout.shape == inputs.shape[1:]
    assert layout.spatial == tuple(inputs.shape[axis] for axis in features)
    assert layout.map_shape == tuple(
        inputs.shape[axis] if axis in features else 1 for axis in range(1, inputs.ndim)
    )
    assert set(layout.map_shapes) == {layout.shape, layout.map_shape}
    assert layout.window(2) == tuple(
        2 if axis in features else inputs.shape[axis] for axis in range(1, inputs.ndim)
    )


def test_kinds() -> None:
    layouts = {name: layout_of(inputs) for name, (inputs, _) in KINDS.items()}
    assert [name for name, layout in layouts.items() if layout.is_image] == ["images"]
    assert [name for name, layout in layouts.items() if not layout.is_known] == ["others"]
    assert layouts["columns"] == Layout((6,))
    formats = {name: layout.memory_format for name, layout in layouts.items()}
    assert formats.pop("images") == torch.channels_last
    assert set(formats.values()) == {torch.contiguous_format}


@each_kind
def test_scores_by_a_loop(inputs: Tensor, features: tuple[int, ...]) -> None:
    layout = layout_of(inputs)
    scores = layout.scores(inputs)
    assert scores.dtype == torch.float64
    for row, one in enumerate(inputs):
        for number, place in enumerate(itertools.product(*map(range, layout.spatial))):
            held = one.double()
            # From the last axis on, so that those before it keep their numbers.
            for axis, index in sorted(zip(features, place, strict=True), reverse=True):
                held = held.select(axis - 1, index)
            assert float(scores[row, number]) == pytest.approx(float(held.sum()))
    # Maps of one number a feature are the scores that they hold.
    torch.testing.assert_close(layout.scores(layout.maps(scores)), scores)
    assert torch.equal(layout.numbers(inputs), inputs.double().flatten(1))


@each_kind
def test_masks_are_the_same_for_all_numbers_of_a_feature(inputs: Tensor, features: tuple[int, ...]) -> None:
    layout = layout_of(inputs)
    masks = torch.rand(len(inputs), *layout.spatial) < 0.5
    spread = layout.expand(masks).expand_as(inputs)
    one = torch.ones_like(inputs)
    assert torch.equal(layout.scores(spread.to(inputs)), layout.scores(one) * masks.flatten(1))
    assert torch.equal(layout.expand(masks[0]).expand_as(inputs[0]), spread[0])
    assert torch.equal(layout.expand(masks[None])[0].expand_as(inputs), spread)
    assert torch.equal(layout.expand_any(masks).expand_as(inputs), spread)
    assert torch.equal(layout.expand_any(spread), spread)


@each_kind
def test_features_and_back(inputs: Tensor, features: tuple[int, ...]) -> None:
    layout = layout_of(inputs)
    rows = layout.by_feature(inputs)
    torch.testing.assert_close(rows.double().sum(2), layout.scores(inputs))
    assert torch.equal(layout.from_features(rows), inputs)


def test_images_share_a_mean_by_channel_and_others_by_number() -> None:
    for inputs, over in ((KINDS["images"][0], (0, 2, 3)), (KINDS["tokens"][0], (0,))):
        assert torch.equal(layout_of(inputs).mean(inputs), inputs.mean(over, keepdim=True))
        assert torch.equal(layout_of(inputs).deviation(inputs), inputs.std(over, keepdim=True))


def test_grids() -> None:
    assert grid((5,), 2).tolist() == [0, 0, 0, 1, 1]
    assert grid((2, 4), 2).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
