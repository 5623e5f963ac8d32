"""Objects on scenes, after BAM: what either model says with and without the object."""

import torch
from torch import Tensor, nn

from xattr_check.core.run import Run

# What a subject has to offer: objects and their scenes, the scenes alone, and a model that names these.
NEEDS = ("mask", "background", "scene", "sibling scene")


@torch.inference_mode()
def logits(model: nn.Module, images: Tensor, run: Run) -> Tensor:
    """(N, K) of images (N, C, H, W), in batches of the run's size."""
    return torch.cat([model(part) for part in images.split(run.batch)])
