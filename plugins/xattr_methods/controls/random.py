"""Control: noise."""

import torch
from torch import Tensor, nn

from xattr_check.core.axes import layout_of
from xattr_check.core.method import method
from xattr_check.storage.digest import derive_seed, digest_rows


@method(control="negative")
def random(model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int = 0) -> Tensor:
    """Normal noise that depends on the input's bits alone, (N, 1, H, W), (N, D) or (N, T, E)."""
    layout = layout_of(inputs)
    shape = layout.map_shape if layout.is_image else layout.shape
    generator = torch.Generator()
    rows = []
    for row in digest_rows(inputs):
        generator.manual_seed(derive_seed(seed, row))
        rows.append(torch.randn(shape, generator=generator, dtype=torch.float64))
    return torch.stack(rows).to(inputs)
