"""Patches and models on which what features do is known or soon learnt, for tests."""

import torch
from subjects import TinyNetwork
from torch import Tensor, nn

from xattr_check.core.subject import Subject
from xattr_check.generation.patches import place
from xattr_check.generation.scenarios import Scenario

# Patches (n, F, C, side, side), classes (n, classes), references (n, K, C, H, W) and places (n, K, F, 2).
Given = tuple[Tensor, Tensor, Tensor, Tensor]


def network(seed: int = 0) -> nn.Module:
    """The tiny network in float64, with features that do something to it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TinyNetwork().double()
        model.conv1.weight.data.mul_(4)
    return model.eval()


def given(kind: Scenario, count: int = 3, draws: int = 5, side: int = 4, seed: int = 0) -> Given:
    """Patches, classes, references and places of 12×12 images, at random."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(count, kind.features, 3, side, side, generator=generator, dtype=torch.float64)
    classes = torch.stack([torch.randperm(5, generator=generator) for _ in range(count)])[:, : kind.classes]
    references = 0.1 * torch.randn(count, draws, 3, 12, 12, generator=generator, dtype=torch.float64)
    places = place(count * draws, kind.features, side, (12, 12), generator).unflatten(0, (count, draws))
    return patches, classes, references, places


class ChannelMeans(nn.Module):
    """(N, C, H, W) -> (N, C): each channel's mean is one logit, so that effects of patches add up."""

    def __init__(self, scale: float = 40.0) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scale * inputs.mean((2, 3))


class Bent(ChannelMeans):
    """Channel means that stop at a bound, so that features can saturate."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 8 * torch.tanh(super().forward(inputs) / 8)


class Filters(nn.Module):
    """Random 3×3 filters, each a logit by the mean of what it finds: (N, C, H, W) -> (N, outputs)."""

    def __init__(self, channels: int, outputs: int = 4, *, inplace: bool = False) -> None:
        super().__init__()
        self.filters = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=inplace)
        nn.init.normal_(self.filters.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = 40 * self.relu(self.filters(inputs)).mean((2, 3))
        return logits


class Flat(nn.Module):
    """Channel means that count at some places and not at others, as after a map that is flattened."""

    def forward(self, inputs: Tensor) -> Tensor:
        rows, columns = (torch.arange(length) // 2 % 2 * 2.0 - 1 for length in inputs.shape[2:])
        sign = (rows[:, None] * columns).to(inputs)
        return 40 * (sign * inputs).mean((2, 3))


def toy(model: nn.Module | None = None, channels: int = 3, size: tuple[int, int] = (12, 12)) -> Subject:
    """Faint noise with a dark and a bright pixel, on channel means by default; absence is the noise alone."""
    inputs = 0.02 * torch.randn(8, channels, *size, generator=torch.Generator().manual_seed(0))
    inputs[..., 0, 0], inputs[..., -1, -1] = -1, 1
    targets = torch.zeros(8, dtype=torch.int64)

    def reference(count: int, generator: torch.Generator) -> Tensor:
        return 0.02 * torch.randn(count, channels, *size, generator=generator)

    return Subject("toy", ChannelMeans() if model is None else model, inputs, targets, reference)
