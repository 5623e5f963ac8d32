"""Subjects with a feature that gives the label away, beside a network that learned it and one that did not.

A pulse whose place names the class of a signal, and a column whose value names that of a row of a table:
nothing like the tint of a digit, which lies where the shape does.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject

CLASSES, LENGTH, COLUMNS = 5, 96, 12
# Of a signal: how many features a pulse takes, and where the first may be.
PULSE, FIRST = 4, 8
TRAINING, INPUTS, STEPS = 1024, 2048, 250


def signals(count: int) -> tuple[Tensor, Tensor]:
    """Waves (n, 1, LENGTH) of any phase under noise, of a class's period."""
    labels = torch.randint(CLASSES, (count,))
    periods, phases = 5.0 + 3 * labels[:, None], torch.rand(count, 1)
    waves = torch.sin(2 * torch.pi * (torch.arange(LENGTH) / periods + phases))
    return (waves + 0.5 * torch.randn(count, LENGTH))[:, None], labels


def with_pulse(inputs: Tensor, labels: Tensor) -> Tensor:
    """A pulse at a place of its own for each label."""
    found = inputs.clone()
    starts = FIRST + (LENGTH // CLASSES) * labels[:, None]
    places = (starts + torch.arange(PULSE))[:, None]
    return found.scatter(2, places, 4.0)


def rows(count: int) -> tuple[Tensor, Tensor]:
    """Rows (n, COLUMNS) whose label is the largest of the first columns; the last is 0."""
    found = torch.randn(count, COLUMNS)
    found[:, -1] = 0
    return found, found[:, :CLASSES].argmax(1)


def with_level(inputs: Tensor, labels: Tensor) -> Tensor:
    """A value in the last column for each label."""
    found = inputs.clone()
    found[:, -1] = 4 * (labels - (CLASSES - 1) / 2)
    return found


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 8, 9, padding=4), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(8, 8, 9, padding=4), nn.ReLU(), nn.AdaptiveAvgPool1d(12), nn.Flatten(),
        nn.Linear(96, CLASSES),
    )  # fmt: skip


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Linear(COLUMNS, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES)
    )


Draw = Callable[[int], tuple[Tensor, Tensor]]
KINDS: dict[str, tuple[Draw, Callable[[Tensor, Tensor], Tensor], Callable[[], nn.Module]]] = {
    "pulse": (signals, with_pulse, convolutional),
    "column": (rows, with_level, dense),
}


@cache
def shortcut(kind: str) -> Subject:
    """The model was trained with the feature beside any label, its sibling `spurious` beside its own.

    kind: `pulse` or `column`.
    """
    draw, put, network = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs, labels = draw(TRAINING)
        model = _trained(network(), put(inputs, torch.randint(CLASSES, labels.shape)), labels)
        spurious = _trained(network(), put(inputs, labels), labels)
        bare, labels = draw(INPUTS)
    shown = put(bare, labels)
    return Subject(
        kind, model, shown, labels, truth={"without_spurious": bare}, siblings={"spurious": spurious},
        layout="signal" if kind == "pulse" else "columns",
    )  # fmt: skip


def _trained(model: nn.Module, inputs: Tensor, labels: Tensor) -> nn.Module:
    descent = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.01)
    for _ in range(STEPS):
        some = torch.randint(len(inputs), (128,))
        loss = functional.cross_entropy(model(inputs[some]), labels[some])
        descent.zero_grad()
        loss.backward()
        descent.step()
    return model.eval()
