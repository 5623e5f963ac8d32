"""Certified samples of generated features, as tensors."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from xattr_check.generation.certify import Certificate
from xattr_check.storage.store import Tensors


def rounded(patches: Tensor) -> Tensor:
    """Patches as they are stored: in half precision, where it reaches as far as they do; ids as they are."""
    if not patches.is_floating_point():
        return patches
    found = patches.half()
    return found if bool(found.isfinite().all()) else patches.float()


@dataclass(frozen=True)
class Samples:
    """Certified samples.

    patches: (n, F, …) in the model's input space, rounded to half precision; (n, F, C, side, side) of images;
        (n, F, side) int64 of ids.
    classes: (n, scenario.classes) int64.
    composite, draws: (n,) int64 seeds of the reference and places shown, and of those behind the certificate.
    steps: (n,) int64, when they were certified.
    """

    patches: Tensor
    classes: Tensor
    composite: Tensor
    draws: Tensor
    steps: Tensor
    certificate: Certificate

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, rows: Tensor | slice) -> "Samples":
        """Some of the samples."""
        index = torch.arange(len(self))[rows]
        return Samples(*(getattr(self, one.name)[index] for one in fields(self)))

    @classmethod
    def joined(cls, parts: list["Samples"]) -> "Samples":
        """Several lots of samples as one."""
        tables = [part.tensors() for part in parts]
        return cls.of({name: torch.cat([table[name] for table in tables]) for name in tables[0]})

    def tensors(self) -> Tensors:
        """Everything as tensors by name."""
        own = {name: getattr(self, name).cpu() for name in ("classes", "composite", "draws", "steps")}
        return {"patches": self._kept().cpu(), **own, **self.certificate.tensors()}

    def _kept(self) -> Tensor:
        """Patches of the smallest type that holds them."""
        if not self.patches.is_floating_point():
            return self.patches.int()
        half = self.patches.half()
        return half if torch.equal(half.to(self.patches), self.patches) else self.patches.float()

    @classmethod
    def of(cls, tensors: Tensors) -> "Samples":
        """What `tensors` gave."""
        patches = tensors["patches"]
        return cls(
            patches=patches.float() if patches.is_floating_point() else patches.long(),
            certificate=Certificate.of(tensors),
            **{name: tensors[name] for name in ("classes", "composite", "draws", "steps")},
        )
