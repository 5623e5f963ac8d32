"""Batch normalisation inside the convolution before it, which saves a fifth of a forward pass on a CPU."""

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from xattr_check.core.context import Contextual

# How far outputs and their gradients may be off, by the norm: by rounding, which turns a few units on or off.
ROUNDING, BENT = 1e-4, 0.02
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def folded(model: nn.Module, example: Tensor) -> nn.Module:
    """A model in eval mode with batch normalisation folded into its convolutions, or as it is.

    It stays as it is where it has none, where torch.fx cannot follow its forward function, where outputs for
    the example (2, *F), together or one by one, or their gradients would be others, and where it has other
    inputs for each row, which would be those of the example.
    """
    modules = list(model.modules())
    if not any(isinstance(one, NORMALISATIONS) for one in modules) or _is_read_by_row(modules, example):
        return model
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: nn.Module = fuse(model).requires_grad_(False)
            told = zip(_said(model, example), _said(found, example), strict=True)
            same = all(
                float((other - own).norm()) <= limit * float(own.norm())
                for limit, (own, other) in zip((ROUNDING, ROUNDING, BENT), told, strict=True)
            )
    except Exception:  # of tracing there are as many as there are models
        return model
    return found if same else model


@torch.enable_grad()
def _said(model: nn.Module, example: Tensor) -> tuple[Tensor, ...]:
    """Outputs for the example and for each of its inputs alone, and what the inputs do to them."""
    inputs = example.clone().requires_grad_()
    outputs = model(inputs.clone())
    (slopes,) = torch.autograd.grad(outputs.square().sum(), inputs)
    return outputs.detach(), torch.cat([model(one.clone()).detach() for one in example.split(1)]), slopes


def _is_read_by_row(modules: Iterable[nn.Module], example: Tensor) -> bool:
    return not example.is_floating_point() or any(isinstance(one, Contextual) for one in modules)
