"""Signals and volumes, and outputs of every kind: what is right passes there, and what is wrong fails."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Declined, Subject, run_battery
from xattr_methods import integrated_gradients

# Of each kind: the shape of an input (C, *spatial), the side of the patch that counts, and a convolution.
SHAPES = {"signal": ((2, 48), 8, nn.Conv1d), "volume": ((2, 8, 8, 8), 3, nn.Conv3d)}
OUTPUTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "classes": functional.cross_entropy,
    "labels": lambda z, t: functional.binary_cross_entropy_with_logits(z, functional.one_hot(t, 2).float()),
    "margin": lambda z, t: functional.binary_cross_entropy_with_logits(z[:, 0], t.float()),
    "value": lambda z, t: (z[:, 0] - t).square().mean(),
}
CHECKS = "shape or depends_on_target or deletion or sensitivity_n"


class Network(nn.Module):
    """What a convolution finds anywhere."""

    def __init__(self, kind: str, outputs: int) -> None:
        super().__init__()
        (channels, *_), side, convolution = SHAPES[kind]
        self.read = convolution(channels, 8, side + 1 - side % 2, padding="same")
        self.relu, self.head = nn.ReLU(), nn.Linear(8, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(self.relu(self.read(inputs)).flatten(2).amax(2))
        return found


def patches(spatial: list[int], side: int) -> list[tuple[slice, ...]]:
    """Two places for patches, which may overlap."""
    starts = torch.stack([torch.randint(length - side + 1, (2,)) for length in spatial], 1).tolist()
    return [tuple(slice(start, start + side) for start in place) for place in starts]


@cache
def subject(kind: str, output: str) -> Subject:
    """A patch in the first channel says the target; a larger one in the other channel says nothing.

    Up or down tells two classes, and how far up a value.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        (channels, *spatial), side, _ = SHAPES[kind]
        count = 200
        inputs = 0.2 * torch.randn(count, channels, *spatial)
        targets, mask = torch.randint(2, (count,)), torch.zeros(count, 1, *spatial, dtype=torch.bool)
        heights = 0.5 + torch.rand(count) if output == "value" else 2.0 * targets - 1
        for row in range(count):
            one, other = patches(spatial, side)
            inputs[(row, 0, *one)] += heights[row]
            inputs[(row, 1, *other)] += 3 * torch.randn(())
            mask[(row, 0, *one)] = True
        model = Network(kind, 2 if output in ("classes", "labels") else 1)
        descent = torch.optim.Adam(model.parameters(), 0.03)
        for _ in range(80):
            loss = OUTPUTS[output](model(inputs), heights if output == "value" else targets)
            descent.zero_grad()
            loss.backward()
            descent.step()
        explained = torch.zeros_like(targets) if output == "value" else targets
        known = {"truth": {"mask": mask}, "causal": True}
        return Subject(kind, model, inputs, explained, layout=kind, output=output, **known)


def reversed_along_the_last(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return integrated_gradients(model, inputs, targets).flip(-1)


def channel_for_position(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    maps = integrated_gradients(model, inputs, targets)
    return maps.flatten(2).sum(2).reshape(*maps.shape[:2], *[1] * (maps.ndim - 2)).expand_as(maps)


KINDS = [
    ("signal", "margin"),
    ("signal", "value"),
    *(pytest.param("signal", output, marks=pytest.mark.slow) for output in ("classes", "labels")),
    ("volume", "classes"),
]


@pytest.mark.parametrize(("kind", "output"), KINDS)
def test_right_and_wrong_maps(kind: str, output: str, tmp_path: Path) -> None:
    own = subject(kind, output)
    right = run_battery("xattr:integrated_gradients", own, checks=CHECKS, storage=tmp_path)
    assert right["sensitivity_n"].status == right["shape"].status == "pass"
    assert {one.check: one.sentence for one in right if one.status in ("fail", "error")} == {}
    alone = "the model of 'signal' has one output, and so there is one target"
    assert (right["depends_on_target"].sentence == alone) == (output == "value")
    for broken in (reversed_along_the_last, channel_for_position):
        assert run_battery(broken, own, checks="sensitivity_n", storage=tmp_path)[0].status == "fail"


def test_a_method_that_declines_is_no_error(tmp_path: Path) -> None:
    calls = []

    def declining(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(inputs))
        raise Declined("it knows no convolution of signals")

    results = run_battery(declining, subject("signal", "classes"), checks="shape or sanity", storage=tmp_path)
    told = {one.sentence for one in results if "does not offer" not in one.sentence}
    assert {one.status for one in results} == {"not_applicable"}
    assert told == {"the method declines the model: it knows no convolution of signals"}
    assert len(calls) < len(results)
