from dataclasses import replace

import pytest
import torch
from features import ChannelMeans, Flat, maker, toy
from torch import Tensor

from xattr_check import Subject
from xattr_check.core.run import Run
from xattr_check.generation.generator import Maker
from xattr_check.generation.noise import calmed, unrest


def spread(by: float, model: ChannelMeans | Flat | None = None) -> Subject:
    """The toy without a reference of its own; outputs vary over its inputs by about 40 times so much."""
    subject = toy(model)
    shades = by * torch.tensor([-1.0, 1.0] * 4)[:, None, None, None]
    inputs = (subject.inputs + shades).clamp(-1, 1)
    inputs[..., 0, 0], inputs[..., -1, -1] = -1, 1  # the range is that of the toy
    return replace(subject, inputs=inputs, reference=None)


@torch.no_grad()
def by_hand(made: Maker, noise: float) -> float:
    """The root mean square of what other noise does where a patch would be, one image at a time."""
    made = Maker(made.subject, replace(made.plan, noise=noise), made.run)
    generator, side, model = torch.Generator().manual_seed(0), made.plan.side, made.subject.model
    references = made.references(24, generator)
    others = made.references(24, generator)
    places = made.plan.place(24, made.geometry, generator)[:, 0].tolist()
    squares = []
    for image, other, (top, left) in zip(references, others, places, strict=True):
        covered = image.clone()
        covered[:, top : top + side, left : left + side] = other[:, :side, :side]
        squares.append((model(covered[None]) - model(image[None]))[0].double().square())
    return float(torch.stack(squares).mean(0).sqrt().mean())


@torch.no_grad()
def outputs_vary_by(subject: Subject) -> float:
    outputs = torch.cat([subject.model(one[None]) for one in subject.inputs]).double()
    return float((outputs - outputs.mean(0)).square().mean(0).sqrt().mean())


@pytest.mark.parametrize("model", [ChannelMeans(), Flat()])
@pytest.mark.parametrize("memory", [1, 2**28])
def test_what_noise_does_by_hand(model: ChannelMeans | Flat, memory: int, run: Run) -> None:
    made = maker(replace(run, memory=memory), spread(0.5, model))
    for noise in (0.1, 0.05, 0.3):
        other = Maker(made.subject, replace(made.plan, noise=noise), made.run)
        assert unrest(other) == pytest.approx(by_hand(made, noise), rel=1e-3)


@pytest.mark.parametrize(
    ("by", "halvings"), [(0.5, 0), (0.12, 0), (0.08, 1), (0.04, 2), (0.02, 3), (0.01, 3), (0.002, 3)]
)
def test_noise_is_halved_until_it_does_nothing(by: float, halvings: int, run: Run) -> None:
    """Nothing that matters, that is; and three times at the most."""
    made = maker(run, spread(by))
    bound = 0.1 * outputs_vary_by(made.subject)
    found = calmed(made)
    assert found.plan == replace(made.plan, noise=0.1 / 2**halvings)
    assert (found is made) is (halvings == 0)
    tried = [by_hand(made, 0.1 / 2**number) for number in range(halvings + 1)]
    assert all(one > bound for one in tried[:-1])
    assert tried[-1] <= bound or halvings == 3
    assert calmed(made).plan == found.plan


def passes(made: Maker) -> list[int]:
    """How many images the model is shown from here on, pass by pass."""
    made.stage.probe  # noqa: B018  # its own passes do not count
    seen: list[int] = []
    made.stage.model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    return seen


def test_how_outputs_vary_is_known_of_the_first_inputs(run: Run) -> None:
    few = spread(0.5)
    many = replace(
        few, inputs=torch.cat([few.inputs] * 8 + [few.inputs[:1]] * 500), targets=few.targets[:1].repeat(564)
    )
    made = maker(run, many)
    seen = passes(made)
    calmed(made)
    assert sum(seen) == 64 + 2 * 24


class Constant(ChannelMeans):
    """Its outputs are always the same, by a way that gradients take."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 0 * super().forward(inputs)


class NeverANumber(ChannelMeans):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * torch.nan


LEFT_ALONE = {
    "a reference of its own": (toy(ChannelMeans(1e4)), "subject"),
    "inputs": (spread(0.002), "inputs"),
    "one input": (replace(spread(0.002), inputs=spread(0.1).inputs[:1], targets=torch.tensor([0])), "noise"),
    "a constant model": (spread(0.002, Constant()), "noise"),
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_what_is_left_alone(case: str, run: Run) -> None:
    subject, reference = LEFT_ALONE[case]
    made = maker(run, subject, reference=reference)
    seen = passes(made)
    assert calmed(made) is made
    assert (seen == []) is (reference != "noise")


def test_a_model_that_returns_no_numbers_is_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = maker(run, spread(0.002))
    monkeypatch.setattr(made.stage, "model", NeverANumber())
    assert calmed(made) is made


def test_noise_of_another_width_is_another_key(run: Run) -> None:
    made = maker(run, spread(0.04))
    quiet = calmed(made)
    assert made.key["plan"] == {**quiet.key["plan"], "noise": 0.1}  # type: ignore[dict-item]
    assert quiet.key["plan"]["noise"] == 0.025  # type: ignore[index]
    assert made.key["reference"] != quiet.key["reference"]
    assert quiet.run is made.run
    assert quiet.subject is made.subject
