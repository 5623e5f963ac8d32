"""Patches and models on which what features do is known or soon learnt, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from subjects import TinyNetwork
from torch import Tensor, nn

from xattr_check.core.run import Run
from xattr_check.core.subject import Subject
from xattr_check.generation import blocks, optimisation, subjects
from xattr_check.generation.generator import Maker
from xattr_check.generation.patches import place
from xattr_check.generation.plan import Plan
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import Scenario, scenario
from xattr_check.storage.store import Store

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


class Alike(ChannelMeans):
    """All outputs are one: nothing changes one of them alone."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).mean(1, keepdim=True).expand(-1, 3)


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


def windows(inputs: Tensor, side: int) -> Tensor:
    """(n, C, side, side) every square of that side that inputs (N, C, H, W) hold."""
    found = inputs.unfold(2, side, 1).unfold(3, side, 1)
    return found.permute(0, 2, 3, 1, 4, 5).reshape(-1, inputs.shape[1], side, side)


@contextmanager
def small_blocks(size: int) -> Iterator[pytest.MonkeyPatch]:
    """Blocks of a few samples, certified early."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (blocks, optimisation, subjects):
            patch.setattr(module, "BLOCK", size)
        patch.setattr(blocks, "LIKELY", dict.fromkeys(blocks.LIKELY, 20))
        for name, value in {"FIRST": 20, "EVERY": 5, "LOOK": 4, "SCREEN": 8}.items():
            patch.setattr(optimisation, name, value)
        yield patch


def maker(
    run: Run,
    subject: Subject | None = None,
    name: str = "double",
    features: int | None = None,
    **options: Any,
) -> Maker:
    """What makes samples of few steps, on the toy by default."""
    subject = toy() if subject is None else subject
    return Maker(subject, Plan.of(subject, scenario(name, features), **{"steps": 200, **options}), run)


def fresh(folder: Path, **options: Any) -> Run:
    """A run with a store of its own."""
    return Run(store=Store(folder), **options)


def same(one: Samples, other: Samples) -> None:
    """Assert that samples are the same, to the last bit."""
    for (name, tensor), value in zip(one.tensors().items(), other.tensors().values(), strict=True):
        assert torch.equal(tensor, value), name
