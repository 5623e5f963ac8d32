"""Subjects in which a patch is planted that says the target, and larger ones that say nothing.

Signals, volumes and embeddings of a size that a network of one convolution learns in a second.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject
from xattr_check.core.layouts import Layout, layout_of

# Of each kind: the shape of an input, and the side of a patch.
SHAPES = {"signal": ((2, 192), 8), "volume": ((2, 10, 10, 10), 2), "embeddings": ((24, 2), 1)}
# So many patches that say nothing, each so many times as long.
OTHERS, LARGER = 6, 2
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "classes": functional.cross_entropy,
    "labels": lambda z, t: functional.binary_cross_entropy_with_logits(z, functional.one_hot(t, 2).float()),
    "margin": lambda z, t: functional.binary_cross_entropy_with_logits(z[:, 0], t.float()),
    "value": lambda z, t: (z[:, 0] - t).square().mean(),
}


class Network(nn.Module):
    """What a convolution over the features finds anywhere: (N, *F) to (N, outputs)."""

    def __init__(self, layout: Layout, side: int, outputs: int) -> None:
        super().__init__()
        assert layout.channels is not None
        self.channels, axes = layout.channels, len(layout.spatial)
        convolution = CONVOLUTIONS[axes - 1]
        self.read = convolution(layout.shape[layout.channels], 8, side + 1 - side % 2, padding="same")
        self.relu, self.head = nn.ReLU(), nn.Linear(8, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(self.read(inputs.movedim(self.channels, 1)))
        found: Tensor = self.head(hidden.flatten(2).amax(2))
        return found


def _place(spatial: tuple[int, ...], side: int) -> tuple[slice, ...]:
    """Where a patch is."""
    starts = [int(torch.randint(length - side + 1, ())) for length in spatial]
    return tuple(slice(start, start + side) for start in starts)


def _train(model: nn.Module, inputs: Tensor, wanted: Tensor, output: str) -> nn.Module:
    descent = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(80):
        loss = LOSSES[output](model(inputs), wanted)
        descent.zero_grad()
        loss.backward()
        descent.step()
    return model


@cache
def planted(kind: str, output: str) -> Subject:
    """A patch in the first channel says the target; larger ones in the other channel say nothing.

    Up or down tells two classes, and how far up a value. kind: a layout of `SHAPES`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape, side = SHAPES[kind]
        count = 200
        inputs = 0.2 * torch.randn(count, *shape)
        layout = layout_of(inputs, kind)
        assert layout.channels is not None
        one_channel, other_channel = inputs.movedim(layout.channels, 1).unbind(1)
        targets, mask = torch.randint(2, (count,)), torch.zeros(count, *layout.spatial, dtype=torch.bool)
        heights = 0.5 + torch.rand(count) if output == "value" else 2.0 * targets - 1
        for row in range(count):
            place = _place(layout.spatial, side)
            one_channel[(row, *place)] += heights[row]
            mask[(row, *place)] = True
            for _ in range(OTHERS):
                other_channel[(row, *_place(layout.spatial, LARGER * side))] += 3 * torch.randn(())
        model = Network(layout, side, 2 if output in ("classes", "labels") else 1)
        _train(model, inputs, heights if output == "value" else targets, output)
    explained = torch.zeros_like(targets) if output == "value" else targets
    known = {"mask": layout.maps(mask)}
    return Subject(kind, model, inputs, explained, truth=known, causal=True, layout=kind, output=output)
