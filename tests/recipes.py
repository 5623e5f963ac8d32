"""Small subjects with a recipe: a patch among others, and one column or token that matters."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject
from xattr_check.core.recipe import Recipe

SIDE, CELL = 8, 2


class Loudest(nn.Module):
    """How much of each channel is bright: (N, 3, H, W) to logits (N, 3); noise has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(3)[:, :, None, None])
            self.mix.bias.fill_(-1.5)
        self.classifier = nn.Linear(3, 3)
        with torch.no_grad():
            self.classifier.weight.copy_(20 * torch.eye(3) - 5)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.classifier(functional.relu(self.mix(inputs)).mean((2, 3)))
        return logits


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(12, 3)
    )


def sees_places() -> nn.Module:
    convolved = nn.Conv2d(3, 12, 1), nn.ReLU(), nn.MaxPool2d(CELL)
    return nn.Sequential(*convolved, nn.Flatten(), nn.Linear(12 * (SIDE // CELL) ** 2, 3))


def patches(count: int, seed: int) -> dict[str, Tensor]:
    """A square of one of three colours, the target, somewhere among dark ones with stronger edges."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    place = torch.randint(0, (SIDE // CELL) ** 2, (count,), generator=generator)
    mask = (grid() == place[:, None, None])[:, None]
    colour = functional.one_hot(targets, 3)[:, :, None, None]
    inputs = 0.4 * torch.randn(count, 3, SIDE, SIDE, generator=generator) + 2.5 * mask * colour
    dark = torch.rand(count, (SIDE // CELL) ** 2, generator=generator) < 0.4
    inputs = torch.where(dark[:, grid()][:, None] & ~mask, inputs - 5, inputs)
    return {"inputs": inputs, "targets": targets, "mask": mask}


def grid() -> Tensor:
    index = torch.arange(SIDE) // CELL
    return index[:, None] * (SIDE // CELL) + index


def subject(**options: object) -> Subject:
    own = patches(200, 1)
    how = {"epochs": 12, "batch": 20, "rate": 2e-2} | options
    recipe = Recipe(**{"network": small, "pool": lambda: patches(160, 0), **how})
    truth = {"mask": own.pop("mask")}
    model = Loudest().eval()
    return Subject("patches", model, **own, truth=truth, causal=True, regions=grid(), recipe=recipe)


def columns_of(count: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 10, generator=generator)
    return {"inputs": inputs, "targets": (inputs[:, 2] > 0).long()}


def tokens_of(count: int, seed: int) -> dict[str, Tensor]:
    rows = columns_of(count, seed)
    return {"inputs": torch.stack([rows["inputs"], -rows["inputs"]], 2), "targets": rows["targets"]}


def one_matters(make: Callable[[int, int], dict[str, Tensor]]) -> Subject:
    """A linear model that looks at one column of ten, or at one token, and a pool of more such rows."""
    judging = make(400, 1)
    inputs = judging["inputs"]

    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 2))

    model = network()
    with torch.no_grad():
        weight = model[1].weight.zero_().reshape(2, *inputs.shape[1:])
        weight[1, 2], weight[0, 2] = 1, -1
    recipe = Recipe(network, lambda: make(160, 0), epochs=8, batch=20, rate=2e-2)
    layout = "embeddings" if inputs.ndim == 3 else None
    return Subject("any", model, **judging, layout=layout, recipe=recipe)
