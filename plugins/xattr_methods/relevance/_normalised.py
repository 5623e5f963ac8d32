"""The LayerNorms and RMSNorms of a tape."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_methods.relevance._calls import Call


@dataclass(frozen=True, eq=False)
class Norm:
    """c / √(mean c² + ε) w + b, of c = x − mean x in a LayerNorm and c = x in an RMSNorm.

    axes: which the means are over. weight: w, None for 1.
    """

    centred: bool
    axes: tuple[int, ...]
    weight: Tensor | None
    epsilon: float

    def centre(self, values: Tensor) -> Tensor:
        """c of x; and the gradient with respect to x of one with respect to c, since the map is symmetric."""
        return values - values.mean(self.axes, keepdim=True) if self.centred else values

    def weighted(self, values: Tensor) -> Tensor:
        """Values times w."""
        return values if self.weight is None else values * self.weight

    def scale(self, centred: Tensor) -> Tensor:
        """1 / √(mean c² + ε), of one value where the means are."""
        return (centred.square().mean(self.axes, keepdim=True) + self.epsilon).rsqrt()


def norm_of(call: Call) -> Norm:
    """The norm that a call of that kind is."""
    shape, weight = call.argument(1, "normalized_shape"), call.argument(2, "weight")
    centred = call.name == "layer_norm"
    epsilon = call.argument(4 if centred else 3, "eps", 1e-5 if centred else None)
    if epsilon is None:
        epsilon = torch.finfo(call.sources[0].dtype).eps
    axes = tuple(range(-len(shape), 0))
    return Norm(centred, axes, None if weight is None else weight.detach(), epsilon)
