"""How large the numbers of a small network can be, and so what rounding makes of them."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.search.cases import ACTIVATIONS, KINDS, PLACES, computed, is_affine
from xattr_check.search.modules import Attention

# Attention bends a path as so many hidden layers do: scores rise and fall, and so do shares of each place.
BENDS = 2


@dataclass(frozen=True)
class Magnitudes:
    """Bounds of a network's numbers on some inputs, for all its outputs.

    output: of outputs. slope: (*F) of |∂f/∂x|, the products of magnitudes summed over all paths.
    reaches: (*F) of |∂f/∂x| |x − b|, for baselines b no larger than the largest of the inputs, and than 1.
    operations: the terms of the sums that follow each other. depth: hidden layers; attention is some.
    """

    output: float
    slope: Tensor
    reaches: Tensor
    operations: int
    depth: int

    @classmethod
    def of(cls, network: nn.Sequential, inputs: Tensor) -> "Magnitudes":
        """Those of a network on inputs (n, *F) and between them."""
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
        return cls(float(outputs.detach().max()), slope, reaches, operations, depth)

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
