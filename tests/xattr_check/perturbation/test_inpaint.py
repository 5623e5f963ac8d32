"""A network that learned to guess missing pixels."""

from pathlib import Path

import pytest
import torch
from subjects import columns, images
from torch import Tensor, nn

from xattr_check import Store, Subject, Undefined
from xattr_check.core.run import Draw, Run
from xattr_check.perturbation import inpaint
from xattr_check.perturbation.fills import absent, fixed
from xattr_check.perturbation.impute import imputed


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inpaint, "STEPS", 8)


def stripes(count: int = 64, channels: int = 1, sides: tuple[int, int] = (24, 40)) -> Subject:
    """Waves of one length in any direction, which go on where linear imputation levels them."""
    generator = torch.Generator().manual_seed(3)
    angle, phase = 6.3 * torch.rand(2, count, channels, 1, 1, generator=generator)
    down, across = torch.meshgrid(*(torch.arange(side) * 0.9 for side in sides), indexing="ij")
    waves = torch.sin(angle.cos() * down + angle.sin() * across + phase)
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * sides[0] * sides[1], 2))
    return Subject("stripes", model, waves, torch.arange(count) % 2)


def draw_of(subject: Subject, folder: Path, seed: int = 0) -> Draw:
    return next(Run(store=Store(folder), seed=seed).draws("deletion", subject, 8))


def filled(draw: Draw, keep: Tensor) -> Tensor:
    fill = absent("inpainted", draw.subject, draw)
    assert not isinstance(fill, Tensor)
    return fill(torch.arange(len(draw.inputs)), keep)


def half_gone(draw: Draw) -> Tensor:
    return torch.rand(len(draw.inputs), 1, *draw.subject.spatial, generator=draw.generator("keep")) < 0.5


@pytest.mark.parametrize(("channels", "sides"), [(1, (24, 40)), (3, (9, 7)), (2, (1, 12))])
def test_any_channels_and_sides(channels: int, sides: tuple[int, int], tmp_path: Path) -> None:
    """What is there stays, and the rest is filled, of pixels and of single channels."""
    draw = draw_of(stripes(40, channels, sides), tmp_path)
    for keep in (half_gone(draw), half_gone(draw).expand_as(draw.inputs)):
        found = filled(draw, keep)
        assert found.shape == draw.inputs.shape
        torch.testing.assert_close(found[keep.expand_as(found)], draw.inputs[keep.expand_as(found)])
        assert bool(found.isfinite().all())


def test_nearer_than_the_mean_and_the_neighbours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On inputs that the network has not seen."""
    monkeypatch.setattr(inpaint, "STEPS", 40)
    draw = draw_of(stripes(), tmp_path)
    keep, mean = half_gone(draw), fixed("mean", draw.subject, draw)

    def error(found: Tensor) -> float:
        return float((found - draw.inputs)[~keep].square().mean())

    linear = mean + imputed(draw.inputs - mean, keep)
    assert error(filled(draw, keep)) < 0.9 * error(linear) < error(mean)


def test_what_is_removed_has_no_part_in_what_stands_for_it(tmp_path: Path) -> None:
    subject = stripes()
    draw = draw_of(subject, tmp_path)
    keep = half_gone(draw)
    before = filled(draw, keep)
    draw.__dict__["inputs"] = torch.where(keep, draw.inputs, 100.0)
    assert torch.equal(filled(draw, keep), before)


def test_no_network_has_seen_what_it_fills(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Inputs of one half may be anything without a change to the network that fills them."""
    subject = stripes()
    asked: list[Tensor] = []

    def learned(images: Tensor, seed: int) -> dict[str, Tensor]:
        asked.append(images)
        return {"weight": images[:1]}

    monkeypatch.setattr(inpaint, "learned", learned)
    inpaint._halves(subject, 0, Run(store=Store(tmp_path)))
    half = inpaint.half_of(subject, torch.arange(64), 0)
    images = (subject.inputs - subject.mean) / subject.layout.deviation(subject.inputs)
    assert torch.equal(asked[0], images[half == 1])
    assert torch.equal(asked[1], images[half == 0])


def test_no_input_is_filled_by_the_network_that_learned_from_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is filled tells by whom: each network adds a number of its own to the guess."""
    draw = draw_of(stripes(), tmp_path)
    seen: list[Tensor] = []

    def learned(images: Tensor, seed: int) -> dict[str, Tensor]:
        seen.append(images)
        weights = {name: torch.zeros_like(one) for name, one in inpaint.Inpainter(1).named_parameters()}
        return weights | {"last.bias": torch.full((1,), 100.0 * len(seen))}

    monkeypatch.setattr(inpaint, "learned", learned)
    found = filled(draw, torch.zeros(len(draw.inputs), 1, *draw.subject.spatial, dtype=torch.bool))
    mean, spread = draw.subject.mean, draw.subject.layout.deviation(draw.subject.inputs)
    by = ((found - mean) / spread / 100).round().flatten(1).mean(1)
    images = (draw.inputs - mean) / spread
    assert sorted(set(by.tolist())) == [1, 2]
    for image, number in zip(images, by.tolist(), strict=True):
        known = [bool((image == others).all((1, 2, 3)).any()) for others in seen]
        assert known == [number == 2, number == 1]


def test_the_same_again_for_a_seed_and_from_the_store(tmp_path: Path) -> None:
    draws = [draw_of(stripes(), tmp_path / name) for name in ("one", "other", "one")]
    keep = half_gone(draws[0])
    state = torch.get_rng_state()
    first, second, stored = (filled(draw, keep) for draw in draws)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    assert torch.equal(first, stored)
    other = draw_of(stripes(), tmp_path / "one", seed=1)
    one, anew = (
        inpaint._halves(draw.subject, draw.run.seed, draw.run)[0]["last.weight"] for draw in (draws[0], other)
    )
    assert not torch.equal(one, anew)


def test_where_it_cannot_be_learned(tmp_path: Path) -> None:
    for subject, sentence in (
        (images(count=31), "expected 32 inputs at least, came 31"),
        (columns(count=40), "these inputs are no images"),
    ):
        with pytest.raises(Undefined, match=sentence):
            absent("inpainted", subject, draw_of(subject, tmp_path))
