"""What the axes of inputs of each kind mean."""

import itertools

import pytest
import torch
from torch import Tensor

from xattr_check.core.layouts import KINDS, Beside, blurred, fastest_format, grid, is_image, layout_of
from xattr_check.errors import LayoutError

# Inputs, and which of their axes are features: the others are the numbers of a feature.
SHAPES = {
    "image": ((2, 3, 4, 5), (2, 3)),
    "columns": ((3, 6), (1,)),
    "embeddings": ((2, 5, 3), (1,)),
    "signal": ((2, 3, 5), (2,)),
    "volume": ((2, 2, 3, 4, 2), (2, 3, 4)),
}
each_kind = pytest.mark.parametrize(
    ("name", "inputs", "features"),
    [(name, torch.randn(shape), features) for name, (shape, features) in SHAPES.items()],
    ids=SHAPES,
)


@each_kind
def test_shapes(name: str, inputs: Tensor, features: tuple[int, ...]) -> None:
    layout = layout_of(inputs, name)
    assert layout.shape == inputs.shape[1:]
    assert layout.spatial == tuple(inputs.shape[axis] for axis in features)
    assert layout.map_shape == tuple(
        inputs.shape[axis] if axis in features else 1 for axis in range(1, inputs.ndim)
    )
    assert set(layout.map_shapes) == {layout.shape, layout.map_shape}
    assert layout.window_shape(2) == tuple(
        2 if axis in features else inputs.shape[axis] for axis in range(1, inputs.ndim)
    )


def test_kinds() -> None:
    assert [kind.name for kind in KINDS] == list(SHAPES)
    inputs = {name: torch.zeros(shape) for name, (shape, _) in SHAPES.items()}
    assert [name for name, one in inputs.items() if is_image(one)] == ["image"]
    formats = {name: fastest_format(one) for name, one in inputs.items()}
    assert formats.pop("image") == torch.channels_last
    assert set(formats.values()) == {torch.contiguous_format}
    # What is given by the layout of inputs of another size is of that kind.
    assert layout_of(torch.zeros(1, 7, 9), layout_of(inputs["signal"], "signal")).spatial == (9,)


def test_what_cannot_be_told_is_asked() -> None:
    told = {}
    for shape, given in (((2, 5, 3), None), ((2, 5), "signal"), ((2, 5), "sound"), ((2,) * 6, None)):
        with pytest.raises(LayoutError) as raised:
            layout_of(torch.zeros(shape), given)
        told[shape, given] = str(raised.value)
    assert list(told.values()) == [
        "what their axes mean cannot be told; expected layout='embeddings' for tokens × numbers (N, T, E) or "
        "layout='signal' for channels × times (N, C, T), came inputs (2, 5, 3)",
        "expected inputs channels × times (N, C, T) for layout='signal', came (2, 5); "
        "inputs of so many axes have layout='columns'",
        "expected layout= one of image, columns, embeddings, signal, volume, tokens, came 'sound'",
        "expected inputs of image (N, C, H, W), columns (N, D), embeddings (N, T, E), signal (N, C, T), "
        "volume (N, C, D, H, W), came (2, 2, 2, 2, 2, 2)",
    ]


@each_kind
def test_scores_by_a_loop(name: str, inputs: Tensor, features: tuple[int, ...]) -> None:
    layout = layout_of(inputs, name)
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
def test_masks_are_the_same_for_all_numbers_of_a_feature(
    name: str, inputs: Tensor, features: tuple[int, ...]
) -> None:
    layout = layout_of(inputs, name)
    masks = torch.rand(len(inputs), *layout.spatial) < 0.5
    spread = layout.expand(masks).expand_as(inputs)
    one = torch.ones_like(inputs)
    assert torch.equal(layout.scores(spread.to(inputs)), layout.scores(one) * masks.flatten(1))
    assert torch.equal(layout.expand(masks[0]).expand_as(inputs[0]), spread[0])
    assert torch.equal(layout.expand(masks[None])[0].expand_as(inputs), spread)
    assert torch.equal(layout.expand_any(masks).expand_as(inputs), spread)
    assert torch.equal(layout.expand_any(spread), spread)


@each_kind
def test_features_and_back(name: str, inputs: Tensor, features: tuple[int, ...]) -> None:
    layout = layout_of(inputs, name)
    rows = layout.by_feature(inputs)
    torch.testing.assert_close(rows.double().sum(2), layout.scores(inputs))
    assert torch.equal(layout.from_features(rows), inputs)


@each_kind
def test_channels_share_a_mean_over_their_neighbours(
    name: str, inputs: Tensor, features: tuple[int, ...]
) -> None:
    layout = layout_of(inputs, name)
    over = (0,) if name == "columns" else (0, *features)
    assert torch.equal(layout.mean(inputs), inputs.mean(over, keepdim=True))
    assert torch.equal(layout.deviation(inputs), inputs.std(over, keepdim=True))


@each_kind
def test_neighbours(name: str, inputs: Tensor, features: tuple[int, ...]) -> None:
    layout = layout_of(inputs, name)
    assert torch.equal(layout.mirrored(inputs), inputs.flip(features[-1]))
    if not isinstance(layout, Beside):
        assert layout.window == layout.stride_of(3) == 1
        assert torch.equal(layout.regions().flatten(), torch.arange(layout.spatial[0]))
        return
    wide = torch.zeros(1, 2, *[8] * len(features))
    axes = layout_of(wide, name)
    middle = (0, 0, *[4] * len(features))
    wide[middle] = 1
    blur = blurred(wide, 1.0)
    assert float(blur.sum()) == pytest.approx(1, abs=0.02)
    assert bool((blur <= blur[middle]).all())
    assert not blur[0, 1].any()
    # One place differs from those beside it along each axis, and the middle of the blob is the middle.
    assert int((axes.edges(wide) > 0).sum()) >= 2 * len(features)
    assert axes.edges(wide).shape == (1, 1, *axes.spatial)
    assert float(axes.centre(wide).flatten()[0]) < 0.2 < float(axes.centre(wide)[(0, *[4] * len(features))])
    near = axes.dilated((wide[:, 0] > 0).flatten(1), 1)
    assert int(near.sum()) == 3 ** len(features)
    assert axes.enlarged(torch.ones(1, 1, *[2] * len(features))).unique().tolist() == [1.0]
    assert 1 / 32 < axes.window ** len(features) / 8 ** len(features) <= 1 / 8


def test_grids() -> None:
    assert grid((5,), 2).tolist() == [0, 0, 0, 1, 1]
    assert grid((2, 4), 2).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert grid((2, 2, 2), 2).flatten().tolist() == list(range(8))
    counts = {"image": (3, 32, 32), "signal": (2, 320), "volume": (1, 16, 16, 16), "columns": (30,)}
    found = {name: layout_of(torch.zeros(1, *shape), name) for name, shape in counts.items()}
    regions = {name: len(layout.regions().unique()) for name, layout in found.items()}
    assert regions == {"image": 64, "signal": 32, "volume": 64, "columns": 30}
    coarse = {name: len(layout.coarse(16).unique()) for name, layout in found.items()}
    assert coarse == {"image": 16, "signal": 16, "volume": 27, "columns": 16}
