"""Objects on scenes, after BAM: what either model says with and without the object."""

import torch
from torch import Tensor, nn

from xattr_check.core import Run
from xattr_check.storage.digest import digest

# What a subject has to offer: objects and their scenes, the scenes alone, and a model that names these.
NEEDS = ("mask", "background", "scene", "sibling scene")


def logits(model: nn.Module, images: Tensor, run: Run) -> Tensor:
    """(N, K) of images (N, C, H, W), in batches of the run's size, from the store."""

    def compute() -> dict[str, Tensor]:
        with torch.no_grad():
            return {"logits": torch.cat([model(part) for part in images.split(run.batch)])}

    key = {"model": run.model_digest(model), "images": digest(images), "device": images.device.type}
    return run.store.fetch("logits", key, compute)["logits"].to(images.device)
