"""Regions by name, against masks and sums written out."""

from dataclasses import replace

import pytest
import torch
from subjects import columns, images, tokens
from torch import Tensor

from xattr_check import Subject
from xattr_check.core.context import rows
from xattr_check.core.layouts import grid, layout_of
from xattr_check.errors import Declined, UnknownInput
from xattr_check.perturbation.named_regions import NAMES, regions_by_name
from xattr_check.perturbation.regions import LUMINANCE, SemanticMap, opponent

SIGNALS = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
VOLUMES = torch.randn(2, 3, 6, 6, 6, generator=torch.Generator().manual_seed(0))


def named(spec: str, inputs: Tensor, layout: str | None = None, **given: object) -> SemanticMap:
    return regions_by_name(spec, inputs, layout_of(inputs, layout), **given)  # type: ignore[arg-type]


def masked() -> Subject:
    subject = images(4)
    mask = torch.zeros(4, 12, 12, dtype=torch.bool)
    mask[0, :5], mask[1, 3:6, 2:9], mask[2] = True, True, True  # and nothing in the last
    return replace(subject, truth={"mask": mask})


def test_cells_are_said_in_two_ways() -> None:
    inputs = images(2).inputs
    for spec, cells in (("grid:3", None), ("grid", 3)):
        assert torch.equal(named(spec, inputs, cells=cells).index[0], grid((12, 12), 3))
    assert named("grid", inputs).count == 64
    assert named("single", inputs).count == 144
    assert named("grid:4", SIGNALS, "signal").index.tolist() == [grid((9,), 4).tolist()]
    assert named("grid:4", columns().inputs).count == 6


def test_the_mask_is_that_of_the_rows() -> None:
    subject = masked()
    found = named("mask", subject.inputs, subject=subject)
    assert found.count == 2
    assert torch.equal(found.index.bool(), subject.truth["mask"].flatten(0, 1))
    some = torch.tensor([2, 0])
    picked = named("mask", subject.inputs[some], subject=subject)
    assert torch.equal(picked.index, found.index[some])
    # Where the rows are known, inputs may be others.
    with rows(torch.tensor([1])):
        assert torch.equal(named("mask", torch.zeros(1, 3, 12, 12), subject=subject).index, found.index[1:2])
    with pytest.raises(UnknownInput, match="asked for the truth about an input that is not its own"):
        named("mask", torch.zeros(1, 3, 12, 12), subject=subject)


def test_groups_of_columns_and_of_tokens() -> None:
    subject = columns()
    assert named("columns", subject.inputs).index.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert named("columns:2", subject.inputs).index.tolist() == [[0, 0, 0, 1, 1, 1]]
    own = replace(subject, regions=torch.tensor([7, 3, 7, 7, 3, 9]))
    assert named("columns", own.inputs, subject=own).index.tolist() == [[1, 0, 1, 1, 0, 2]]
    assert named("tokens:2", tokens().inputs, "embeddings").index.tolist() == [[0, 0, 0, 1, 1]]
    assert named("tokens", tokens().inputs, "embeddings").count == 5


def test_channels_are_regions_of_numbers() -> None:
    found = named("channels", SIGNALS, "signal")
    assert found.count == 4
    assert torch.equal(found.index, torch.arange(4)[None, :, None].expand(1, 4, 9))
    halves = named("channels:2", SIGNALS, "signal")
    assert halves.index[0, :, 0].tolist() == [0, 0, 1, 1]
    assert named("channels", VOLUMES).index.shape == (1, 3, 6, 6, 6)


def test_superpixels_do_not_depend_on_other_images() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(3, 3, 16, 16, generator=generator)
    pictures[1] = 0.5  # which shows nothing
    found = named("superpixels:9", pictures)
    assert found.count == 9
    assert int(found.index.max()) < 9
    for row in range(3):
        alone = named("superpixels:9", pictures[row : row + 1])
        assert alone.count == 9
        assert torch.equal(alone.index[0], found.index[row])
    assert named("superpixels:8", VOLUMES).index.shape == (2, 6, 6, 6)


def test_luminance_and_chroma_are_put_together_again() -> None:
    assert float(torch.tensor(LUMINANCE).sum()) == pytest.approx(1)
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(opponent(inverse=True) @ opponent(), eye, rtol=0, atol=1e-15)
    grey = opponent() @ torch.full((3,), 0.4, dtype=torch.float64)
    torch.testing.assert_close(grey, torch.tensor([0.4, 0, 0], dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", ["colour", "channels"])
def test_outputs_under_gains_of_numbers_one_by_one(name: str) -> None:
    subject = images(3)
    regions = named(name, subject.inputs)
    assert regions.count == {"colour": 2, "channels": 3}[name]
    fill = subject.inputs.mean(0, keepdim=True).expand_as(subject.inputs)
    gains = 2 * torch.rand(4, regions.count, generator=torch.Generator().manual_seed(0))
    found = regions.outputs(
        subject.model, subject.inputs, subject.targets, fill, gains, output="logit", memory=2**20
    )
    weights = torch.tensor(LUMINANCE)
    with torch.no_grad():
        for k, gain in enumerate(gains):
            for n, target in enumerate(subject.targets):
                contrast = subject.inputs[n] - fill[n]
                if name == "colour":
                    light = (weights[:, None, None] * contrast).sum(0, keepdim=True).expand(3, -1, -1)
                    given = fill[n] + gain[0] * light + gain[1] * (contrast - light)
                else:
                    given = fill[n] + gain[:, None, None] * contrast
                wanted = float(subject.model(given[None])[0, target])
                assert wanted == pytest.approx(float(found[n, k]), abs=1e-4)


@pytest.mark.parametrize(
    ("spec", "given", "sentence"),
    [
        (
            "cells",
            {},
            "expected regions 'grid', 'single', 'mask', 'superpixels', 'columns', 'tokens', 'channels', "
            "'colour' or a tensor, came 'cells'",
        ),
        ("grid:x", {}, "expected regions 'grid:NUMBER', came 'grid:x'"),
        ("grid:0", {}, "expected regions 'grid:NUMBER', came 'grid:0'"),
        ("mask:2", {}, "expected regions 'mask', came 'mask:2'"),
        ("grid:3", {"cells": 4}, "expected cells once, came regions 'grid:3' and cells 4"),
        ("grid", {"cells": 0}, "expected cells of at least 1, came 0"),
    ],
)
def test_other_specs_are_told(spec: str, given: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        named(spec, images(1).inputs, **given)
    assert str(caught.value) == sentence
    assert not isinstance(caught.value, Declined)


@pytest.mark.parametrize(
    ("spec", "layout", "sentence"),
    [
        ("mask", "image", "expected a subject whose truth has a mask for regions 'mask', came none"),
        ("columns", "image", "expected columns for regions 'columns', came image (1, 3, 12, 12)"),
        ("tokens", "image", "expected tokens for regions 'tokens', came image (1, 3, 12, 12)"),
        (
            "superpixels",
            "signal",
            "expected images or volumes for regions 'superpixels', came signal (2, 4, 9)",
        ),
        ("colour", "signal", "expected images of three channels for regions 'colour', came signal (2, 4, 9)"),
        (
            "channels",
            "embeddings",
            "expected images, signals or volumes for regions 'channels', came embeddings (2, 4, 9)",
        ),
    ],
)
def test_inputs_that_have_no_such_regions_are_declined(spec: str, layout: str, sentence: str) -> None:
    with pytest.raises(Declined) as caught:
        named(spec, images(1).inputs if layout == "image" else SIGNALS, layout)
    assert str(caught.value) == sentence


def test_every_name_is_told_in_the_docstring() -> None:
    assert all(f"`{name}`" in (regions_by_name.__doc__ or "") for name in NAMES)
