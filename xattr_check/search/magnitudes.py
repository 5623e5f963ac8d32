"""How large the numbers of a small network can be, and so what rounding makes of them."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.search.cases import ACTIVATIONS, KINDS, PLACES, computed, is_affine
from xattr_check.search.modules import Attention

# Baselines from which paths are followed, and points on each; what others may come to, in what these do.
BASELINES, STEPS, ROOM = 6, 128, 2
# Attention bends a path as so many hidden layers do: scores rise and fall, and so do shares of each place.
BENDS = 2


@dataclass(frozen=True)
class Magnitudes:
    """Bounds of a network's numbers on some inputs, for all its outputs.

    output: of outputs. slope: (*F) of |∂f/∂x|, the products of magnitudes summed over all paths.
    reaches: (*F) of |∂f/∂x| |x − b|, for baselines b no larger than the largest of the inputs, and than 1.
    operations: the terms of the sums that follow each other. depth: hidden layers; attention is some.
    bends: of how much slopes change along a path from a baseline to each of the inputs, in the output.

    Products are a thousand times too large where there is attention. There reaches and bends are measured on
    paths from some baselines, with room for others.
    """

    output: float
    slope: Tensor
    reaches: Tensor
    operations: int
    depth: int
    bends: float

    @classmethod
    def of(cls, network: nn.Sequential, inputs: Tensor, start: Tensor | None = None) -> "Magnitudes":
        """Those of a network on inputs (n, *F) and between them.

        start: (1, *F) the baseline that paths begin at, where that is known.
        """
        modules = computed(network)
        attention = sum(isinstance(one, Attention) for one in network.modules())
        # A sum over places for the shares, and one with them.
        operations = sum(_terms(one) for one in modules) + 2 * PLACES * attention
        depth = sum(isinstance(one, ACTIVATIONS) for one in modules) + BENDS * attention
        largest = inputs.abs().amax(0, keepdim=True)
        with torch.enable_grad():
            leaves = largest.clone().requires_grad_()
            outputs = _majorant(network)(leaves)[0]
            slopes = [torch.autograd.grad(one, leaves, retain_graph=True)[0][0] for one in outputs]
        slope = torch.stack(slopes).amax(0)
        reaches = slope * (largest[0] + largest.max().clamp_min(1))
        bends = depth * float(reaches.sum())
        if attention:
            seen, bent = _along_paths(network, inputs, _baselines(inputs) if start is None else start)
            room = ROOM if start is None else 1
            reaches, bends = reaches.minimum(ROOM * seen), min(bends, room * bent)
        return cls(float(outputs.detach().max()), slope, reaches, operations, depth, bends)

    @property
    def reach(self) -> float:
        """`reaches`, of all features together."""
        return float(self.reaches.sum())

    def rounding(self, *maps: Tensor) -> float:
        """What rounding may come to in a sum over maps (N, *F), and in outputs.

        Half of the digits may be lost, as where a method divides by differences. Maps of a coarser precision
        than the network's were computed in it.
        """
        eps = max(torch.finfo(one.dtype).eps for one in maps)
        attributed = max(float(one.abs().sum()) for one in maps)
        return float(eps**0.5 * (1 + self.operations) * (self.output + self.reach + attributed) + 1e-12)


def _baselines(inputs: Tensor) -> Tensor:
    """(BASELINES, *F): zero, and others no larger than the largest of inputs (n, *F), and than 1."""
    generator = torch.Generator().manual_seed(0)
    most = inputs.abs().max().clamp_min(1)
    drawn = torch.rand(BASELINES, *inputs.shape[1:], generator=generator, dtype=inputs.dtype)
    return torch.cat([torch.zeros_like(drawn[:1]), most * (2 * drawn[1:] - 1)])


def _along_paths(network: nn.Sequential, inputs: Tensor, baselines: Tensor) -> tuple[Tensor, float]:
    """(*F) the largest |∂f/∂x| |x − b| on paths to inputs (n, *F), and how much slopes change along them.

    baselines: (B, *F). What a path has between two of its points, where no slope tells of it, counts as a
    change that each of the points would see.
    """
    ways = (inputs[:, None] - baselines).flatten(0, 1)
    starts = baselines.repeat(len(inputs), *[1] * (inputs.ndim - 1))
    places = (torch.arange(STEPS, dtype=inputs.dtype) + 0.5) / STEPS
    points = starts[:, None] + places.reshape(1, -1, *[1] * (inputs.ndim - 1)) * ways[:, None]
    reaches, bends = torch.zeros_like(inputs[0]), 0.0
    with torch.enable_grad():
        leaves = points.flatten(0, 1).requires_grad_()
        for one, ends in zip(
            network(leaves).unbind(1), (network(starts + ways) - network(starts)).unbind(1), strict=True
        ):
            (slopes,) = torch.autograd.grad(one.sum(), leaves, retain_graph=True)
            parts = slopes.unflatten(0, points.shape[:2]) * ways[:, None]
            along = parts.flatten(2).sum(2)
            unseen = (along.mean(1) - ends).abs()
            changes = along.diff(dim=1).abs().sum(1) + STEPS * unseen
            bends = max(bends, float(changes.unflatten(0, (len(inputs), -1)).amax(1).sum()))
            reaches = reaches.maximum(parts.abs().amax((0, 1)))
    return reaches, bends


def _terms(module: nn.Module) -> int:
    """How many terms are added up for a number that it computes."""
    return module.weight[0].numel() + 1 if is_affine(module) else 1  # type: ignore[index]


class _Attended(nn.Module):
    """Bounds of what attention computes from bounds of what it is given, and slopes that bound its slopes."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, inputs: Tensor) -> Tensor:
        """As `Attention`'s; its layers have the magnitudes of the weights."""
        one = self.attention
        places = inputs.reshape(len(inputs), one.query.in_channels, -1)
        query, key, value = (layer(places) for layer in (one.query, one.key, one.value))
        largest = value.amax(2, keepdim=True)
        with torch.no_grad():
            # What all scores or one of them move a mean by, for each step: shares sum to one.
            by_query, by_key = largest * key.amax(2, keepdim=True), largest / 2
        moved = by_query * query + by_key * query.detach() * key.sum(2, keepdim=True)
        slopes = value.sum(2, keepdim=True) + moved
        found: Tensor = largest.detach() + slopes - slopes.detach()
        return found.reshape(inputs.shape)


def _majorant(network: nn.Sequential) -> nn.Sequential:
    """A network that computes bounds of magnitudes from bounds of magnitudes."""
    found = copy.deepcopy(network)
    with torch.no_grad():
        for module in list(found.modules()):
            if is_affine(module):
                for parameter in module.parameters():
                    parameter.abs_()
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.abs_()
                module.bias.abs_()
                module.running_mean = -module.running_mean.abs()  # type: ignore[union-attr]
            for name, child in module._modules.items():
                if isinstance(child, ACTIVATIONS):
                    module._modules[name] = nn.Identity()
                elif isinstance(child, Attention):
                    module._modules[name] = _Attended(child)
                elif type(child) in KINDS["largest"]:
                    module._modules[name] = KINDS["sum"][KINDS["largest"].index(type(child))](1, 2)
    return found
