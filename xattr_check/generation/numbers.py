"""Features of inputs that consist of numbers, each of which may take any value of its range."""

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.subject import Subject


class Numbers:
    """What geometries have in common in which a number between two others is one, too."""

    layout: Layout

    @property
    def remedy(self) -> str:
        """Nothing: numbers that show nothing are always known."""
        return ""

    def inputs_of(self, subject: Subject) -> Tensor:
        """(N, *F): the subject's own."""
        return subject.inputs

    def reading(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    @property
    def starts(self) -> tuple[int, ...]:
        """Anywhere."""
        return (0,) * len(self.layout.spatial)

    def patch_shape(self, side: int) -> tuple[int, ...]:
        """That of a window of an input: all numbers of its features."""
        return self.layout.window_shape(side)

    def side_of(self, patches: Tensor) -> int:
        """How many features patches (n, F, …) have along each axis, which are as many along all."""
        return patches.shape[self.layout.ranked[0]]

    def rows_of(self, inputs: Tensor) -> Tensor:
        """(N,) int64: all inputs."""
        return torch.arange(len(inputs), device=inputs.device)

    def noise(
        self, inputs: Tensor, low: Tensor, high: Tensor, width: float, count: int, generator: torch.Generator
    ) -> Tensor:
        """(count, *F): normal around what shows nothing, clipped to the range low … high."""
        noise = torch.randn(count, *self.layout.shape, generator=generator).to(inputs)
        middle, span = self.absence(inputs, low, high)
        return (middle + width * span * noise).clamp(low, high)

    def absence(self, inputs: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """What noise is drawn around, and what its width is told in; of one input."""
        raise NotImplementedError

    def shares(self, pieces: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(n, …) in 0…1: where pieces of inputs lie in their range."""
        # Whatever the model computes in: half precision is too coarse to take small steps in.
        return ((pieces - low) / torch.where(high > low, high - low, 1)).float()

    def values(self, shares: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(n, …): what shares of a range are there."""
        made: Tensor = (low + (high - low) * shares).to(low)
        return made
