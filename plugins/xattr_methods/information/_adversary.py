"""A bottleneck of the inputs that brings about a given one in a layer, found against critics. [zhang2021]"""

from dataclasses import dataclass

import torch
from torch import Size, Tensor, nn
from torch.nn import functional

from xattr_check.core.context import chosen
from xattr_check.core.layouts.beside import CONVOLUTIONS
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.gradients import lay_out
from xattr_methods.information._bottleneck import Noise
from xattr_methods.information._place import Place

# Of the authors: rates of RMSprop, the bound of the critics' weights, and the sizes of what they see.
RATES = {"mask": 0.003, "mean": 0.1, "deviation": 0.05}
CRITIC_RATE, BOUND = 5e-5, 0.01
BATCH, BATCHES, GENERATE = 32, 7, 5
WIDTHS, HIDDEN, SLOPE = (16, 32, 32), 32, 0.2


class Critics:
    """One critic for each of n inputs, all at once: scores of what a layer returns, of no use to the others.

    Three convolutions and two linear maps for cells (C, *cells), as groups; one recurrent layer and a linear
    map for tokens (T, E). All begin alike.
    """

    def __init__(self, place: Place, count: int, like: Tensor) -> None:
        self.axes = len(place.cells)
        shapes: list[tuple[int, ...]] = []
        width = place.shape[0]
        if self.axes:
            cells = list(place.cells)
            for wider in WIDTHS:
                shapes += [(wider, width, *[3] * self.axes), (wider,)]
                width, cells = wider, [(side + 1) // 2 for side in cells]
            shapes += [(Size(cells).numel() * width, HIDDEN), (HIDDEN,)]
        else:
            shapes += [(place.shape[1], HIDDEN), (HIDDEN, HIDDEN), (HIDDEN,)]
        generator = torch.Generator().manual_seed(0)
        drawn = [
            torch.rand(*shape, generator=generator, dtype=torch.float64)
            for shape in [*shapes, (HIDDEN, 1), (1,)]
        ]
        self.weights = [
            (BOUND * (2 * one - 1)).to(like).expand(count, *one.shape).clone().requires_grad_()
            for one in drawn
        ]

    def __call__(self, values: Tensor, rows: slice) -> Tensor:
        """(k, n): scores of values (k, n, *shape), by the critics of these rows."""
        own = [one[rows] for one in self.weights]
        hidden = self._convolved(values, own) if self.axes else self._read(values, own)
        return _linear(hidden, *own[-2:]).squeeze(2)

    def _convolved(self, values: Tensor, own: list[Tensor]) -> Tensor:
        groups, hidden = values.shape[1], values.flatten(1, 2)
        for weight, bias in zip(own[0:-4:2], own[1:-4:2], strict=True):
            hidden = CONVOLUTIONS[self.axes](
                hidden, weight.flatten(0, 1), bias.flatten(), stride=2, padding=1, groups=groups
            )
            hidden = functional.leaky_relu(hidden, SLOPE)
        return functional.leaky_relu(
            _linear(hidden.unflatten(1, (groups, -1)).flatten(2), *own[-4:-2]), SLOPE
        )

    def _read(self, values: Tensor, own: list[Tensor]) -> Tensor:
        weight, again, bias = own[:3]
        hidden = values.new_zeros(*values.shape[:2], HIDDEN)
        for token in values.unbind(2):
            hidden = torch.tanh(_linear(token, weight, bias) + torch.einsum("kni,nio->kno", hidden, again))
        return hidden


def _linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(k, n, o) of values (k, n, i), weights (n, i, o) and (n, o)."""
    return torch.einsum("kni,nio->kno", values, weight) + bias


@dataclass(frozen=True)
class Layer:
    """What a layer should return, for n inputs, and where it is.

    values, passed: (n, *shape), what it returns, and which share of that is kept, the rest being noise of
    this mean and deviation.
    """

    place: Place
    values: Tensor
    passed: Tensor
    mean: Tensor
    deviation: Tensor

    def draw(self, noise: Noise) -> Tensor:
        """(BATCH, n, *shape): in deviations from the mean, the scale of the noise."""
        scores = (self.values - self.mean) / self.deviation
        drawn = noise.draw(BATCH, self.place.shape, scores).transpose(0, 1)
        return torch.lerp(drawn, scores, self.passed)


def fitted_mask(
    layer: Layer,
    model: nn.Module,
    inputs: Tensor,
    start: Tensor,
    mean: Tensor,
    deviation: Tensor,
    epochs: int,
    noise: Noise,
    chunks: Chunks,
) -> Tensor:
    """λ_G (n, *F) in 0…1, of inputs of which f(λ_G I + (1 − λ_G) ε_G) is as `layer` should be.

    By Wasserstein GANs with clipped weights, one for each input [arjovsky2017]: seven times in an epoch, a
    critic learns to tell what the layer returns from what it should, and two times λ_G, the mean and the
    deviation of ε_G are moved so that it cannot.

    start: of λ_G. mean, deviation: those of ε_G at the start, broadcastable, and the unit of their steps.
    """
    mask = start.clone().requires_grad_()
    middle, spread = torch.zeros_like(inputs, requires_grad=True), torch.ones_like(inputs, requires_grad=True)
    generator = {"mask": mask, "mean": middle, "deviation": spread}
    critics = Critics(layer.place, len(inputs), inputs)
    improve = torch.optim.RMSprop([{"params": [one], "lr": RATES[name]} for name, one in generator.items()])
    judge = torch.optim.RMSprop(critics.weights, CRITIC_RATE)
    every = slice(0, len(inputs))

    def returned(rows: slice, drawn: Tensor) -> Tensor:
        """(k, m, *shape) of noise (k, m, *F), in deviations from the mean."""
        other = mean + deviation * (middle[rows] + spread[rows] * drawn)
        points = torch.lerp(other, inputs[rows].expand_as(other), mask[rows].expand_as(other))
        index = torch.arange(rows.start, rows.stop).repeat(len(drawn))
        with chosen(index):
            found, _ = layer.place.seen(model, lay_out(model, points.flatten(0, 1)))
        scores: Tensor = (found.unflatten(0, drawn.shape[:2]) - layer.mean) / layer.deviation
        return scores

    def fake() -> Tensor:
        drawn = noise.draw(BATCH, tuple(inputs.shape[1:]), inputs).transpose(0, 1)
        found = drawn.new_empty(BATCH, len(inputs), *layer.place.shape)
        with torch.no_grad():
            parts = chunks.over_pairs(
                lambda rows, some: returned(rows, drawn[some, rows]), len(inputs), BATCH
            )
            for rows, some, part in parts:
                found[some, rows] = part
        return found

    for step in range(epochs * BATCHES):
        gap = (critics(fake(), every) - critics(layer.draw(noise), every)).mean(0).sum()
        for weight, slope in zip(critics.weights, torch.autograd.grad(gap, critics.weights), strict=True):
            weight.grad = slope
        judge.step()
        with torch.no_grad():
            for weight in critics.weights:
                weight.clamp_(-BOUND, BOUND)
        if step % BATCHES % GENERATE:
            continue
        drawn = noise.draw(BATCH, tuple(inputs.shape[1:]), inputs).transpose(0, 1)
        for one in generator.values():
            one.grad = torch.zeros_like(one)

        def slopes(rows: slice, some: slice, drawn: Tensor = drawn) -> tuple[Tensor, ...]:
            loss = -critics(returned(rows, drawn[some, rows]), rows).sum() / BATCH
            return torch.autograd.grad(loss, tuple(generator.values()))

        for _, _, found in chunks.over_pairs(slopes, len(inputs), BATCH):
            for one, slope in zip(generator.values(), found, strict=True):
                one.grad = slope if one.grad is None else one.grad + slope
        improve.step()
        with torch.no_grad():
            mask.clamp_(0, 1)
    return mask.detach()
