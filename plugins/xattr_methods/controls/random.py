"""Control: noise."""

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Beside, Layout
from xattr_check.core.method import method
from xattr_check.storage.digest import derive_seed, digest_rows
from xattr_methods._arguments import laid_out


@method(control="negative", keeps_rows=True)
def random(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int = 0, layout: Layout | str | None = None
) -> Tensor:
    """Normal noise that depends on the input's bits alone, (N, 1, H, W), (N, D) or (N, T, E)."""
    axes = laid_out("random", inputs, layout)
    shape = axes.map_shape if isinstance(axes, Beside) else axes.shape
    generator = torch.Generator()
    found = torch.empty(len(inputs), *shape, dtype=torch.float64)
    for row, own in zip(digest_rows(inputs), found, strict=True):
        generator.manual_seed(derive_seed(seed, row))
        own.copy_(torch.randn(shape, generator=generator, dtype=torch.float64))
    return found.to(inputs)
