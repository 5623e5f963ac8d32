"""What a feature of each layout is, and where it can be, by brute force."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from features import ChannelMeans, toy
from torch import Tensor

from xattr_check import Subject, UsageError, load_subject
from xattr_check.core.layouts import KINDS, Tokens, layout_of
from xattr_check.core.run import Run
from xattr_check.generation.generator import Maker
from xattr_check.generation.geometry import GEOMETRIES, Boxes, Geometry
from xattr_check.generation.optimisation import Block
from xattr_check.generation.patches import place
from xattr_check.generation.plan import Plan
from xattr_check.generation.scenarios import scenario
from xattr_check.generation.sets import Sets
from xattr_check.storage.digest import digest

# Of each layout, an input, the axes of a batch along which features are placed, and a side.
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "image": ((2, 6, 7), (2, 3), 3),
    "columns": ((9,), (1,), 3),
    "embeddings": ((7, 3), (1,), 2),
    "signal": ((2, 9), (2,), 4),
    "volume": ((1, 4, 5, 6), (2, 3, 4), 2),
}
each_layout = pytest.mark.parametrize("name", SHAPES)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def geometry_on(name: str, count: int = 5) -> tuple[Geometry, Tensor]:
    inputs = torch.randn(count, *SHAPES[name][0], generator=seeded())
    return GEOMETRIES[name](subject_of(name, inputs)), inputs


def index_of(name: str, row: int, where: list[int], side: int) -> Any:
    """Where a patch of a row is, as an index of inputs (N, *F)."""
    if name == "columns":
        return row, torch.tensor(where)
    found: list[Any] = [row, *[slice(None)] * len(SHAPES[name][0])]
    for axis, start in zip(SHAPES[name][1], where, strict=True):
        found[axis] = slice(start, start + side)
    return tuple(found)


def test_every_layout_has_a_geometry() -> None:
    assert set(GEOMETRIES) == {kind.name for kind in (*KINDS, Tokens)} == {*SHAPES, "tokens"}


@each_layout
def test_paste_cut_and_mask_by_slices(name: str) -> None:
    geometry, inputs = geometry_on(name)
    layout, side, count = geometry.layout, SHAPES[name][2], len(inputs)
    places = geometry.place(count, 1, side, seeded(3))[:, 0]
    patches = torch.randn(count, *layout.window_shape(side), generator=seeded(1))
    expected, mask = inputs.clone(), torch.zeros(count, *layout.map_shape, dtype=torch.bool)
    for row, where in enumerate(places.tolist()):
        index = index_of(name, row, where, side)
        assert torch.equal(geometry.cut(inputs, places, side)[row], inputs[index])
        expected[index] = patches[row]
        mask[index] = True
    before = inputs.clone()
    found = geometry.paste(inputs, patches, places)
    assert torch.equal(found, expected)
    assert torch.equal(inputs, before)
    assert torch.equal(geometry.mask(places, side), mask)
    assert torch.equal(geometry.cut(found, places, side), patches)


@each_layout
def test_gradients_of_a_paste(name: str) -> None:
    geometry, inputs = geometry_on(name)
    side = SHAPES[name][2]
    places = geometry.place(len(inputs), 1, side, seeded(3))[:, 0]
    patches = torch.randn(len(inputs), *geometry.layout.window_shape(side), generator=seeded(1))
    weight = torch.randn(inputs.shape, generator=seeded(2))
    found = torch.autograd.grad(
        (geometry.paste(inputs.requires_grad_(), patches.requires_grad_(), places) * weight).sum(),
        (inputs, patches),
    )
    assert torch.equal(found[0], weight * ~geometry.mask(places, side))
    assert torch.equal(found[1], geometry.cut(weight, places, side))


@each_layout
@pytest.mark.parametrize("together", [False, True])
def test_features_never_overlap(name: str, together: bool) -> None:
    geometry, _ = geometry_on(name)
    side = min(SHAPES[name][2], 3)
    for features in (1, 2, 3):
        places = geometry.place(60, features, side, seeded(features), together=together)
        assert places.shape[:2] == (60, features)
        assert places.dtype == torch.int64
        masks = torch.stack([geometry.mask(one, side) for one in places.unbind(1)])
        assert int(masks.sum(0).max()) == 1
        one = geometry.mask(places[:, 0], side).flatten(1).sum(1)
        assert torch.equal(masks.flatten(2).sum(2), one.expand(features, -1))
        assert torch.equal(places, geometry.place(60, features, side, seeded(features), together=together))


def feasible(size: tuple[int, ...], features: int, side: int, gap: int) -> set[tuple[tuple[int, ...], ...]]:
    """All ordered arrangements of boxes."""
    cells = list(itertools.product(*(range(length - side + 1) for length in size)))
    return {
        row
        for row in itertools.product(cells, repeat=features)
        for pairs in [itertools.combinations(row, 2)]
        if all(any(abs(a - b) >= side + gap for a, b in zip(*pair, strict=True)) for pair in pairs)
    }


@pytest.mark.parametrize(
    ("size", "features", "side", "gap"),
    [
        ((5,), 1, 2, 0),
        ((8,), 2, 2, 1),
        ((7,), 3, 2, 0),
        ((6,), 4, 1, 0),
        ((3, 3, 4), 2, 2, 0),
        ((2, 2, 5), 2, 2, 1),
        ((1, 2, 2), 4, 1, 0),
    ],
)
def test_every_arrangement_along_other_numbers_of_axes_is_reached(
    size: tuple[int, ...], features: int, side: int, gap: int
) -> None:
    rows = place(8000, features, side, size, seeded(), gap=gap).tolist()
    assert {tuple(map(tuple, row)) for row in rows} == feasible(size, features, side, gap)


def test_every_set_of_columns_is_reached() -> None:
    geometry = Sets(layout_of(torch.zeros(1, 6)), torch.tensor([0, 2, 3, 5]), torch.zeros(6))
    rows = geometry.place(2000, 2, 2, seeded()).tolist()
    pairs = list(itertools.combinations([0, 2, 3, 5], 2))
    expected = {(a, b) for a in pairs for b in pairs if not set(a) & set(b)}
    counts = Counter(tuple(map(tuple, row)) for row in rows)
    assert set(counts) == expected
    assert min(counts.values()) > 2000 / len(expected) / 2


@pytest.mark.parametrize(
    ("size", "features", "offsets"),
    [
        ((8,), 2, [[0], [4]]),
        ((16,), 4, [[0], [4], [8], [12]]),
        ((4, 4, 8), 2, [[0, 0, 0], [0, 0, 4]]),
        ((4, 8, 8), 3, [[0, 0, 0], [0, 0, 4], [0, 4, 0]]),
        ((8, 4, 4), 2, [[0, 0, 0], [4, 0, 0]]),
    ],
)
def test_tight_arrangements(size: tuple[int, ...], features: int, offsets: list[list[int]]) -> None:
    assert place(1, features, 4, size, seeded(), together=True)[0].tolist() == offsets


# Digests of what is drawn for images: the features that subjects ship are known by the seeds of their places.
PLACED = {
    (1, False): "6ff7ca67", (2, False): "987b9ced", (3, False): "cee35368", (4, False): "c9975f92",
    (1, True): "48be0f66", (2, True): "d9630dc6", (3, True): "feb3ef31", (4, True): "20287c6e",
}  # fmt: skip


def test_places_of_images_are_those_of_the_features_that_ship() -> None:
    found = {}
    for features, together in PLACED:
        generator = seeded(features)
        drawn = place(50, features, 6, (32, 24), generator, gap=0 if together else 2, together=together)
        # What is drawn behind them is the same, too.
        found[features, together] = digest(drawn, torch.rand(1, generator=generator))[:8]
    assert found == PLACED


def test_a_block_of_images_is_as_it_was(run: Run) -> None:
    subject = toy(ChannelMeans(100))
    block = Block(Maker(subject, Plan.of(subject, scenario("null")), run), 0)
    for _ in range(3):
        block.advance()
    made = block.state()
    exact = digest(made["block.classes"], *block.maker.draw(block._seeds("step", torch.arange(16)), 2)[1:])
    logits = made["prior.logits"]
    figures = [float(logits.mean()), float(logits.std()), float(logits[5].sum()), float(logits[-1, 0, 0, 0])]
    assert exact[:8] == "505dbbfa"
    assert figures == pytest.approx([-0.191947, 0.631890, -15.617547, 0.688567], rel=1e-4)


# Columns.


def table(count: int = 40) -> Tensor:
    """(N, 7): two numeric columns, a flag, a grade, three of one of which a row has, with a constant last."""
    chance = torch.rand(count, 3, generator=seeded())
    kind = (chance[:, 2] * 3).long()
    flags = torch.nn.functional.one_hot(kind, 3)
    columns = [chance[:, 0], (chance[:, 1] * 60).round(), (chance[:, 0] > 0.3).float(), *flags.unbind(1)]
    return torch.stack([*(column.float() for column in columns), torch.ones(count)], 1)


def test_categories_are_no_part_of_features_and_stay_legal() -> None:
    inputs = table()
    geometry = Sets.of(layout_of(inputs), inputs)
    assert geometry.columns.tolist() == [0, 1]
    low, high = inputs.amin(0), inputs.amax(0)
    middle, reach = geometry.absence(inputs, low, high)
    assert torch.equal(middle[:2], inputs.mean(0)[:2])
    assert torch.equal(reach, torch.tensor([1.0, 1, 0, 0, 0, 0, 0]) * inputs.std(0))
    rest = [tuple(row) for row in inputs[:, 2:].tolist()]
    assert tuple(middle[2:].tolist()) in rest
    usual = max(rest, key=lambda row: sum(sum(a == b for a, b in zip(row, one, strict=True)) for one in rest))
    assert tuple(middle[2:].tolist()) == usual


def test_of_few_rows_values_that_hardly_repeat_are_numbers() -> None:
    few = torch.tensor([[0.0, 1.0, 5.0], [1.0, 2.0, 5.0], [0.0, 3.5, 5.0], [1.0, 4.0, 5.0]])
    assert Sets.of(layout_of(few), few).columns.tolist() == [1]


def test_values_of_columns_at_places() -> None:
    geometry, _ = geometry_on("columns")
    values, places = torch.arange(9.0), torch.tensor([[[0, 2, 4], [1, 3, 8]], [[5, 6, 7], [0, 1, 2]]])
    assert geometry.at(values, places).tolist() == [[0, 2, 4], [1, 3, 8], [5, 6, 7], [0, 1, 2]]


# Defaults.


@pytest.mark.parametrize(
    ("name", "shape", "sides", "gap"),
    [
        ("signal", (2, 96), (42, 26, 17), 9),
        ("embeddings", (24, 3), (10, 6, 4), 2),
        ("volume", (1, 16, 16, 20), (7, 7, 7), 1),
        ("columns", (36,), (15, 12, 9), 0),
        ("image", (3, 32, 32), (14, 14, 14), 3),
        ("signal", (1, 4), (1, 1, 1), 0),
    ],
)
def test_defaults_fit(name: str, shape: tuple[int, ...], sides: tuple[int, ...], gap: int) -> None:
    inputs = torch.randn(20, *shape, generator=seeded())
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(inputs[0].numel(), 4))
    subject = Subject("s", model, inputs, torch.zeros(20, dtype=torch.int64), layout=name)
    for features, side in zip((2, 3, 4), sides, strict=True):
        made = Plan.of(subject, scenario("null", features))
        assert (made.side, made.gap, made.reference) == (side, gap, "noise")
        assert Plan.of(subject, scenario("saturation", features)).gap == 0


def subject_of(name: str, inputs: Tensor | None = None, **options: object) -> Subject:
    given = geometry_on(name, 12)[1] if inputs is None else inputs
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(given[0].numel(), 4))
    targets = torch.zeros(len(given), dtype=torch.int64)
    return Subject("s", model, given, targets, layout=name, **options)  # type: ignore[arg-type]


class Masked(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 4)

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        found: Tensor = self.head((inputs * attention_mask[..., None]).mean(1))
        return found


def masked() -> Subject:
    inputs, targets = geometry_on("embeddings", 12)[1], torch.zeros(12, dtype=torch.int64)
    context = {"attention_mask": torch.ones(12, 7)}
    return Subject("s", Masked(), inputs, targets, layout="embeddings", context=context)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            lambda: load_subject("reviews"), {"side": 14},
            "patch=14: 2 patches cannot be kept apart with 2 tokens between them in inputs of 26 tokens; "
            "choose a smaller patch",
        ),
        (
            lambda: load_subject("reviews"), {"prior": "pixels"},
            "prior 'pixels': expected words for patches of tokens",
        ),
        (
            masked, {},
            "subject 's': features are generated for models of one input, came other inputs, attention_mask",
        ),
        (
            lambda: subject_of("signal"), {"side": 10},
            "patch=10: expected at most 9 times, all of inputs of 9 times",
        ),
        (
            lambda: subject_of("embeddings"), {"side": 4},
            "patch=4: 2 patches cannot be kept apart in inputs of 7 vectors; choose a smaller patch",
        ),
        (
            lambda: subject_of("volume"), {"side": 5},
            "patch=5: expected at most 4 voxels, the smaller side of 4×5×6 inputs",
        ),
        (
            lambda: subject_of("columns"), {"side": 5},
            "patch=5: 2 patches of 5 columns are more than the 9 numeric ones of 9; choose a smaller patch",
        ),
        (
            lambda: subject_of("columns", table()[:, 1:]), {},
            "1 of 6 columns are numeric, and 2 patches need one each at the least; values between those of "
            "the others are no inputs",
        ),
        (
            lambda: subject_of("signal"), {"prior": "decoder"},
            "prior 'decoder': expected pixels for patches of times",
        ),
        (
            lambda: subject_of("columns"), {"fixed": False},
            "placement 'anywhere': expected fixed for patches of columns, each of which is of a kind of its "
            "own",
        ),
        (lambda: subject_of("signal"), {"side": 0}, "patch=0: expected at least 1 times"),
    ],
)  # fmt: skip
def test_mistakes(make: object, options: dict[str, object], message: str) -> None:
    assert callable(make)
    with pytest.raises(UsageError) as raised:
        Plan.of(make(), scenario("null"), **options)  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_the_released_loss_has_pixels_where_there_is_no_decoder() -> None:
    assert Plan.of(subject_of("signal"), scenario("null"), objective="dynamic").prior == "pixels"
    assert Plan.of(toy(), scenario("null"), objective="dynamic").prior == "decoder"


def test_a_layout_without_channels_of_its_own_can_have_boxes() -> None:
    """A map of numbers, each of which is a feature: no such layout ships."""

    class Grid(type(layout_of(torch.zeros(1, 4)))):  # type: ignore[misc]
        rank = 2

    geometry = Boxes(Grid((5, 6)), "cells")
    inputs = torch.randn(3, 5, 6, generator=seeded())
    places = geometry.place(3, 1, 2, seeded())[:, 0]
    patches = torch.zeros(3, 2, 2)
    found = geometry.paste(inputs, patches, places)
    assert torch.equal(found == 0, geometry.mask(places, 2))
    assert torch.equal(geometry.cut(found, places, 2), patches)
