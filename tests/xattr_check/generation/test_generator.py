from dataclasses import replace

import pytest
import torch
from features import ChannelMeans, Filters, Flat, maker, toy, windows
from torch import Tensor, nn

from xattr_check import Subject, UsageError
from xattr_check.core.run import Run
from xattr_check.generation.generator import SEEN, Maker, own_places


def test_a_model_with_too_few_outputs(run: Run) -> None:
    with pytest.raises(UsageError, match=r"expected a model with at least 4 outputs for 'double', came 3"):
        maker(run, toy(), features=4, side=4)


def test_what_outputs_have_in_common(run: Run) -> None:
    """The largest squared correlation within each group; nothing with an output that is constant."""
    linear = nn.Linear(432, 5)
    with torch.no_grad():
        linear.weight[1] = -2 * linear.weight[0]
        linear.weight[2] = 0.0
    model = nn.Sequential(nn.Flatten(), linear)
    inputs = torch.rand(SEEN, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    made = maker(run, Subject("five", model, inputs, torch.arange(SEEN) % 5), "single")
    with torch.no_grad():
        outputs = model(inputs).double()
    centred = outputs - outputs.mean(0)

    def common(first: int, second: int) -> float:
        one, other = centred[:, first], centred[:, second]
        return float((one * other).sum() ** 2 / (one.square().sum() * other.square().sum()))

    pairs = torch.tensor([[0, 1], [0, 3], [4, 3], [2, 4]])
    expected = [1.0, common(0, 3), common(4, 3), 0.0]
    assert made.shared(pairs).tolist() == pytest.approx(expected, abs=1e-4)
    expected = [max(common(0, 3), common(3, 4), common(0, 4))]
    assert made.shared(torch.tensor([[0, 3, 4]])).tolist() == pytest.approx(expected, abs=1e-4)
    assert made.shared(torch.tensor([[0], [1]])).tolist() == [0.0, 0.0]


def test_what_outputs_have_in_common_is_not_seen_on_one_class(run: Run) -> None:
    """Inputs that are sorted begin with those of one class, which here differ in strength alone."""
    strength = torch.linspace(1, 2, 2 * SEEN)[:, None, None, None]
    inputs = strength * torch.ones(2 * SEEN, 3, 12, 12)
    inputs[SEEN:] = torch.rand(SEEN, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 9
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 5))
    made = maker(run, Subject("sorted", model, inputs, torch.zeros(2 * SEEN, dtype=torch.int64)), "single")
    with torch.no_grad():
        first = model(inputs[:SEEN]).T.corrcoef().square()[0, 1]
    assert float(first) == pytest.approx(1, abs=1e-3)
    assert float(made.shared(torch.tensor([[0, 1]]))) < 0.9


class Detached(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.detach() * 2


class NoGradients(nn.Sequential):
    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = super().forward(inputs)
        return found


class OwnForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(3), ChannelMeans()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(inputs).detach())
        return found


@pytest.mark.parametrize(
    ("model", "where"),
    [
        (nn.Sequential(nn.BatchNorm2d(3), Detached(), ChannelMeans()), "module '1' (Detached)"),
        (
            nn.Sequential(nn.BatchNorm2d(3), NoGradients(nn.Conv2d(3, 3, 3), nn.ReLU()), ChannelMeans()),
            "module '1.0' (Conv2d)",
        ),
        (OwnForward(), "the model's own forward"),
    ],
)
def test_where_no_gradient_reaches_the_inputs(model: nn.Module, where: str, run: Run) -> None:
    with pytest.raises(UsageError) as raised:
        maker(run, toy(model))
    assert str(raised.value) == f"subject 'toy': no gradient reaches the inputs; it stops at {where}"


# Places.


@pytest.mark.parametrize("name", ["null", "single", "saturation"])
def test_fixed_places(name: str, run: Run) -> None:
    made = maker(run, toy(Flat()), name)
    assert made.plan.fixed
    seeds = torch.tensor(
        [own_places(seed, sample << 32) for sample in (5, 6) for seed in range(3 * sample, 3 * sample + 3)]
    )
    references, places = made.draw(seeds, 4)
    assert torch.equal(places[:3], places[:1, :1].expand(3, 4, -1, -1))
    assert torch.equal(places[3:], places[3:4, :1].expand(3, 4, -1, -1))
    assert not torch.equal(places[0], places[3])
    assert len({tuple(image.flatten().tolist()) for image in references.flatten(0, 1)}) == 24
    anywhere = maker(run, toy(Flat()), name, fixed=False).draw(seeds, 4)[1]
    assert len({tuple(one.flatten().tolist()) for one in anywhere.flatten(0, 1)}) > 5


def test_seeds_of_fixed_places() -> None:
    seed, sample = 2**63 - 1, 2**62 + 12345
    assert own_places(seed, sample) >> 32 == sample >> 32
    assert own_places(seed, sample) % 2**32 == seed % 2**32


# What patches start as, and lie on.


def shades() -> Subject:
    """Inputs (9, 3, 12, 16) of classes 0, 1 and 3, all different, and channels of ranges of their own."""
    inputs = torch.rand(9, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    inputs = inputs * torch.tensor([1.0, 10.0, 0.1])[:, None, None] - 3
    model = nn.Sequential(ChannelMeans(), nn.Linear(3, 4))
    return Subject("shades", model, inputs, torch.tensor([0, 1, 3] * 3))


def shares_of(made: Maker, inputs: Tensor) -> Tensor:
    """Every piece (n, C, side, side) of some of the inputs, by the range that each channel has over all."""
    every = made.subject.inputs.transpose(0, 1).flatten(1)
    low, high = every.amin(1)[:, None, None], every.amax(1)[:, None, None]
    return (windows(inputs, made.plan.side) - low) / (high - low)


def is_one_of(piece: Tensor, pieces: Tensor) -> bool:
    return float((pieces - piece).flatten(1).abs().amax(1).min()) < 1e-6


def pieces(made: Maker, classes: Tensor, generator: torch.Generator) -> Tensor:
    """For patches that can be anywhere, where they are does not matter to what they start as."""
    places = made.plan.place(len(classes), made.geometry, torch.Generator().manual_seed(9))
    return made.pieces(classes, places, generator)


@pytest.mark.parametrize(("name", "classes"), [("null", 2), ("single", 2), ("saturation", 1)])
def test_pieces_are_of_inputs_of_the_class_that_they_make(name: str, classes: int, run: Run) -> None:
    made = maker(run, shades(), name)
    asked = torch.tensor([[0, 1], [1, 3], [3, 0], [1, 0]])[:, :classes]
    found = pieces(made, asked, torch.Generator().manual_seed(0))
    side, makes = made.plan.side, made.plan.scenario.makes
    assert found.shape == (4 * len(makes), 3, side, side)
    assert 0 <= found.min() < found.max() <= 1
    wanted = [row[number] for row in asked.tolist() for number in makes]
    for piece, number in zip(found, wanted, strict=True):
        targets = made.subject.targets
        assert is_one_of(piece, shares_of(made, made.subject.inputs[targets == number]))
        assert not is_one_of(piece, shares_of(made, made.subject.inputs[targets != number]))
    assert torch.equal(found, pieces(made, asked, torch.Generator().manual_seed(0)))
    assert not torch.equal(found, pieces(made, asked, torch.Generator().manual_seed(1)))


def test_pieces_are_of_any_input_where_none_is_of_the_class(run: Run) -> None:
    made = maker(run, shades(), "single")
    found = pieces(made, torch.tensor([[2, 0]]).repeat(60, 1), torch.Generator().manual_seed(0))
    every = [shares_of(made, one[None]) for one in made.subject.inputs]
    chosen = [[number for number, one in enumerate(every) if is_one_of(piece, one)] for piece in found]
    assert all(len(one) == 1 for one in chosen)
    assert {number for (number,) in chosen} == set(range(9))


def test_pieces_lie_anywhere(run: Run) -> None:
    """At every place at which there is room."""
    inputs = torch.arange(8.0).expand(1, 1, 6, 8) + 8 * torch.arange(6.0)[:, None]
    made = maker(run, Subject("grid", Filters(1), inputs, torch.tensor([0])), "single", side=4)
    found = pieces(made, torch.tensor([[0, 1]]).repeat(200, 1), torch.Generator().manual_seed(0))
    corners = (found[:, 0, 0, 0] * 47).round().int().tolist()
    assert set(corners) == {8 * top + left for top in range(3) for left in range(5)}


def test_a_channel_that_is_constant(run: Run) -> None:
    subject = shades()
    subject.inputs[:, 1] = 0.7
    made = maker(run, subject)
    found = pieces(made, torch.tensor([[0, 1]]), torch.Generator().manual_seed(0))
    assert torch.isfinite(found).all()
    assert not found[:, 1].any()
    references, _ = made.draw(torch.tensor([1]), 2)
    assert references[:, :, 1].eq(0.7).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_pieces_are_in_single_precision(dtype: torch.dtype, run: Run) -> None:
    subject = shades()
    made = maker(run, replace(subject, inputs=subject.inputs.to(dtype), model=subject.model.to(dtype)))
    found = pieces(made, torch.tensor([[0, 1]]), torch.Generator().manual_seed(0))
    assert found.dtype == torch.float32
    assert 0 <= found.min() < found.max() <= 1


@pytest.mark.parametrize("noise", [0.1, 0.025])
def test_noise_is_a_share_of_the_range(noise: float, run: Run) -> None:
    made = maker(run, shades(), reference="noise")
    made = Maker(made.subject, replace(made.plan, noise=noise), run)
    found = made.references(200, torch.Generator().manual_seed(0))
    span = (made.high - made.low).flatten()
    usual = made.subject.inputs.mean((0, 2, 3))
    torch.testing.assert_close(found.mean((0, 2, 3)), usual, rtol=0, atol=0.01 * float(span.max()))
    torch.testing.assert_close(found.std((0, 2, 3)) / span, torch.full((3,), noise), rtol=0.02, atol=0)
