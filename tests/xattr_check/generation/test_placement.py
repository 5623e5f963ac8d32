from dataclasses import replace
from typing import Any

import pytest
import torch
from features import ChannelMeans, Filters, Flat, toy
from torch import nn

from xattr_check import Subject
from xattr_check.core.run import Run
from xattr_check.generation.generator import Maker, own_places
from xattr_check.generation.placement import choose_placement, share_of_pieces
from xattr_check.generation.plan import Plan
from xattr_check.generation.scenarios import scenario


def maker(run: Run, model: nn.Module, name: str = "null", **options: Any) -> Maker:
    subject = toy(model)
    # Pieces that differ: the toy's own inputs are faint noise.
    shades = torch.linspace(-1, 1, 8)[:, None, None, None] * torch.tensor([1.0, -1.0, 0.5])[:, None, None]
    subject = replace(subject, inputs=subject.inputs + shades)
    return Maker(subject, Plan.of(subject, scenario(name), **options), run)


@torch.no_grad()
def by_hand(made: Maker, anywhere: bool) -> float:
    """Between over whole sums of squares, a piece at a time."""
    generator, side = torch.Generator().manual_seed(0), made.plan.side
    chosen = torch.randint(len(made.subject.inputs), (12,), generator=generator)
    edge = (12 - side) // 2
    references = made.references(12, generator)
    places = made.plan.place(12, made.size, generator)[:, 0].tolist()
    effects = torch.zeros(12, 12, 3, dtype=torch.float64)
    for piece, index in enumerate(chosen.tolist()):
        for draw in range(12):
            top, left = places[draw if anywhere else 0]
            image = references[draw].clone()
            cut = made.subject.inputs[index, :, edge : edge + side, edge : edge + side]
            image[:, top : top + side, left : left + side] = cut
            model = made.subject.model
            effects[piece, draw] = (model(image[None]) - model(references[draw][None]))[0].double()
    between = 12 * (effects.mean(1) - effects.mean((0, 1))).square().sum()
    return float(between / (effects - effects.mean((0, 1))).square().sum())


@pytest.mark.parametrize("anywhere", [True, False])
@pytest.mark.parametrize("model", [Flat(), ChannelMeans(), Filters(3, 3)])
def test_what_a_piece_explains(model: nn.Module, anywhere: bool, run: Run) -> None:
    made = maker(run, model)
    assert share_of_pieces(made, anywhere=anywhere) == pytest.approx(by_hand(made, anywhere), abs=1e-4)
    chunked = maker(replace(run, memory=1), model)
    assert share_of_pieces(chunked, anywhere=anywhere) == pytest.approx(by_hand(made, anywhere), abs=1e-4)


class Alike(ChannelMeans):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 0 * super().forward(inputs)


@pytest.mark.parametrize(
    ("model", "fixed"), [(Flat(), True), (ChannelMeans(), False), (Filters(3), False), (Alike(), False)]
)
def test_places_are_fixed_where_they_matter(model: nn.Module, fixed: bool, run: Run) -> None:
    made = choose_placement(maker(run, model))
    assert made.plan == replace(maker(run, model).plan, fixed=fixed)


@pytest.mark.parametrize("name", ["null", "single", "saturation"])
def test_fixed_places(name: str, run: Run) -> None:
    made = maker(run, Flat(), name, fixed=True)
    seeds = torch.tensor(
        [own_places(seed, sample << 32) for sample in (5, 6) for seed in range(3 * sample, 3 * sample + 3)]
    )
    references, places = made.draw(seeds, 4)
    assert torch.equal(places[:3], places[:1, :1].expand(3, 4, -1, -1))
    assert torch.equal(places[3:], places[3:4, :1].expand(3, 4, -1, -1))
    assert not torch.equal(places[0], places[3])
    assert len({tuple(image.flatten().tolist()) for image in references.flatten(0, 1)}) == 24
    anywhere = maker(run, Flat(), name).draw(seeds, 4)[1]
    assert len({tuple(one.flatten().tolist()) for one in anywhere.flatten(0, 1)}) > 5


def test_seeds_of_fixed_places() -> None:
    seed, sample = 2**63 - 1, 2**62 + 12345
    assert own_places(seed, sample) >> 32 == sample >> 32
    assert own_places(seed, sample) % 2**32 == seed % 2**32


def test_a_users_subject(run: Run) -> None:
    """Whose inputs are all alike: nothing is found out, and patches go anywhere."""
    subject: Subject = replace(toy(), inputs=torch.zeros(4, 3, 12, 12), targets=torch.zeros(4).long())
    made = Maker(subject, Plan.of(subject, scenario("null"), reference="subject"), run)
    assert not choose_placement(made).plan.fixed
