"""Modules of the search that torch has not; a program that shows what was found holds their text."""

import torch
from torch import Tensor, nn


class Shortcut(nn.Module):
    """A module, and its input added to what it computes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        """As the inner module's, whose outputs have the shape of its inputs."""
        found: Tensor = inputs + self.inner(inputs)
        return found


class Summed(nn.Module):
    """What two modules compute of one input, added."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, inputs: Tensor) -> Tensor:
        """As the modules' own, whose outputs have one shape."""
        found: Tensor = self.first(inputs) + self.second(inputs)
        return found


class Exponentials(nn.Module):
    """The softmax over the last of three axes, in single steps."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, P, Q) of (N, P, Q)."""
        weights = (inputs - inputs.amax(2, keepdim=True)).exp()
        found: Tensor = weights / weights.sum(2, keepdim=True)
        return found


class Attention(nn.Module):
    """One head of self-attention over the places of maps, or over units, each of which is a place.

    shares: the softmax over the last of three axes.
    """

    def __init__(self, query: nn.Conv1d, key: nn.Conv1d, value: nn.Conv1d, shares: nn.Module) -> None:
        super().__init__()
        self.query = query
        self.key = key
        self.value = value
        self.shares = shares

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, *S) of (N, C, *S), or (N, W) of (N, W); the layers take (N, channels, places)."""
        places = inputs.reshape(len(inputs), self.query.in_channels, -1)
        scores = self.query(places).transpose(1, 2) @ self.key(places)
        found: Tensor = self.value(places) @ self.shares(scores).transpose(1, 2)
        return found.reshape(inputs.shape)


class Seen(nn.Module):
    """Some features of inputs, and zeros for the others."""

    keep: Tensor

    def __init__(self, keep: Tensor) -> None:
        super().__init__()
        self.register_buffer("keep", keep)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, *F) of (N, *F); keep: bool, as broadcasts to them."""
        return torch.where(self.keep, inputs, 0.0)


class Shifted(nn.Module):
    """Inputs less a constant."""

    shift: Tensor

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, *F) of (N, *F)."""
        return inputs - self.shift


class Mirrored(nn.Module):
    """The mean of inputs and of their mirror images along the last axis."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, *F) of (N, *F)."""
        return (inputs + inputs.flip(-1)) / 2
