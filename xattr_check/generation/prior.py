"""Priors of generated patches: what a patch is made of, and looks like before anything is asked of it."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SEED_CHANNELS = 16
CHANNELS = 32
# Above this many pixels on a side, half the channels: fine detail needs fewer.
FINE = 32

# How far from black and white a piece of an input starts, as a share of the range: there is a way back.
INSIDE = 0.02


class Prior(nn.Module):
    """Many patches, none of which depends on another: the first axis of every tensor is that of the patches.

    Called, it gives them, (count, …) in 0…1, where a patch of an image is (channels, side, side).

    rate: the learning rate that suits it. attempt: steps of one attempt at a sample. share: that of the last
    step in the running mean of what is learnt.
    """

    rate: float
    attempt: int
    share: float


class Pixels(Prior):
    """Every pixel for itself, as a logit of its share of the range; each patch starts as a piece of an input.

    A pixel, or any number that an input consists of. Nothing smooths it: what keeps a patch from being a
    freak of one image is that it is certified on others.
    """

    rate, attempt, share = 0.3, 200, 0.1

    def __init__(self, pieces: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(pieces.clamp(INSIDE, 1 - INSIDE).logit())

    def forward(self) -> Tensor:
        """(count, …) in 0…1."""
        return self.logits.sigmoid()


class Decoders(Prior):
    """Many decoders as one: a deep image prior [ulyanov2018] for each patch, in grouped convolutions.

    A seed of 16 channels and three to six cells on a side is enlarged twofold, level by level, to the size of
    the patch; 3×3 convolutions of 32 channels, instance normalisation and LeakyReLU between, sigmoid at the
    end. No decoder sees another: patches are the same whichever they are optimised beside.
    """

    rate, attempt, share = 3e-3, 1500, 0.02
    seeds: Tensor

    def __init__(self, count: int, channels: int, side: int, generator: torch.Generator) -> None:
        super().__init__()
        self.count, self.side = count, side
        levels = max(0, round(math.log2(side / 4)))
        cells = math.ceil(side / 2**levels)
        widths = [SEED_CHANNELS] + [
            CHANNELS if cells * 2**level <= FINE else CHANNELS // 2 for level in range(levels + 1)
        ]
        seeds = torch.rand(count, SEED_CHANNELS, cells, cells, generator=generator)
        self.register_buffer("seeds", seeds)
        self.weights = nn.ParameterList(
            torch.randn(count, outputs, inputs, 3, 3, generator=generator) * math.sqrt(2 / (9 * inputs))
            for inputs, outputs in pairwise(widths)
        )
        self.last = nn.Parameter(
            torch.randn(count, channels, widths[-1], 1, 1, generator=generator) * math.sqrt(2 / widths[-1])
        )
        self.offset = nn.Parameter(torch.zeros(count, channels))

    def forward(self) -> Tensor:
        """(count, channels, side, side) in 0…1."""
        hidden = self.seeds
        for level, weight in enumerate(self.weights):
            if level:
                hidden = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
            # Without a bias, which the normalisation would take away again.
            hidden = functional.instance_norm(self._convolved(hidden, weight))
            hidden = functional.leaky_relu(hidden, 0.2)
        image = self._convolved(hidden, self.last) + self.offset[..., None, None]
        edge = (image.shape[-1] - self.side) // 2
        return image[..., edge : edge + self.side, edge : edge + self.side].sigmoid()

    def _convolved(self, hidden: Tensor, weight: Tensor) -> Tensor:
        outputs, kernel = weight.shape[1], weight.shape[-1]
        together = functional.conv2d(
            hidden.reshape(1, -1, *hidden.shape[2:]),
            weight.flatten(0, 1),
            padding=kernel // 2,
            groups=self.count,
        )
        return together.reshape(self.count, outputs, *together.shape[2:])


class Words(Prior):
    """Ids of tokens, (count, side) int64, that start as a piece of a text: no gradient step leads to others.

    They are exchanged for others by a search, step by step.
    """

    rate, attempt, share = 0.0, 20, 1.0
    ids: Tensor

    def __init__(self, pieces: Tensor) -> None:
        super().__init__()
        self.register_buffer("ids", pieces.clone())

    def forward(self) -> Tensor:
        """(count, side) int64."""
        return self.ids


def _decoders(pieces: Tensor, generator: torch.Generator) -> Prior:
    count, channels, side, _ = pieces.shape
    return Decoders(count, channels, side, generator)


# By name: from what geometries make of pieces of inputs, (count, …) in 0…1 or ids; `decoder` leaves it aside.
PRIORS: dict[str, Callable[[Tensor, torch.Generator], Prior]] = {
    "pixels": lambda pieces, generator: Pixels(pieces),
    "decoder": _decoders,
    "words": lambda pieces, generator: Words(pieces),
}
