"""A subject: a model, inputs that it understands, and what is known to be true of both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from xattr_check.core.recipe import Recipe
from xattr_check.errors import SubjectError, UnknownInput
from xattr_check.storage.digest import digest, digest_model, digest_rows

Reference = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Subject:
    """What a method is judged on.

    name: how reports call it.
    model: maps (N, *F) to logits (N, K); put into eval mode here, its weights are never changed.
    inputs: (N, *F) float, as the model expects them: (N, C, H, W) images, (N, D) columns, (N, T, E) tokens.
    targets: (N,) int64, the output that is explained for each input.
    reference: (n, generator) -> (n, *F), what absence looks like; drawn anew at every call.
    regions: (*spatial) int64, the group of each feature, or None.
    truth: tensors known to be true of the inputs, by rows; `mask` (N, 1, H, W) bool: what makes the target,
        `other_target` (N,) int64 and `other_mask` (N, 1, H, W) bool: another output and what makes it.
    causal: whether the model is known to use what `mask` shows: without it the target is gone, and nothing
        else changes the target. Then checks that compare maps with the mask gate, and do not only advise.
    siblings: the same network trained otherwise, by name: `shuffled_labels`, `scene`, …
    recipe: how networks are trained from scratch, for checks that retrain, or None.
    generated: features generated with this model, by scenario, as `generation.subjects.packed` gives them;
        verified when they are used. What is not there is generated.

    Raises SubjectError where these do not fit together.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    reference: Reference | None = None
    regions: Tensor | None = None
    truth: Mapping[str, Tensor] = field(default_factory=dict)
    causal: bool = False
    siblings: Mapping[str, nn.Module] = field(default_factory=dict)
    recipe: Recipe | None = None
    generated: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"subject {self.name!r}"
        if not isinstance(self.model, nn.Module):
            raise SubjectError(
                f"{where}: expected model to be a torch.nn.Module, came {type(self.model).__name__}"
            )
        if not isinstance(self.inputs, Tensor) or self.inputs.ndim < 2 or len(self.inputs) == 0:
            came = tuple(self.inputs.shape) if isinstance(self.inputs, Tensor) else type(self.inputs).__name__
            raise SubjectError(f"{where}: expected inputs (N, *F) with N ≥ 1, came {came}")
        if not self.inputs.is_floating_point():
            raise SubjectError(
                f"{where}: expected float inputs, came {self.inputs.dtype}; pass inputs.float()"
            )
        if not bool(torch.isfinite(self.inputs).all()):
            row = int((~torch.isfinite(self.inputs)).flatten(1).any(1).nonzero()[0])
            raise SubjectError(
                f"{where}: expected finite inputs, came NaN or infinite values, first in row {row}"
            )
        if not isinstance(self.targets, Tensor) or self.targets.shape != self.inputs.shape[:1]:
            came = (
                tuple(self.targets.shape) if isinstance(self.targets, Tensor) else type(self.targets).__name__
            )
            raise SubjectError(
                f"{where}: expected targets ({len(self.inputs)},), one for each input, came {came}"
            )
        if self.targets.dtype != torch.int64:
            raise SubjectError(
                f"{where}: expected int64 targets, came {self.targets.dtype}; pass targets.long()"
            )
        for key, value in self.truth.items():
            if len(value) != len(self.inputs):
                raise SubjectError(
                    f"{where}: expected truth {key!r} with {len(self.inputs)} rows, came {len(value)}"
                )
        if self.causal and "mask" not in self.truth:
            raise SubjectError(f"{where}: expected truth 'mask' where causal=True, came none")
        for model in (self.model, *self.siblings.values()):
            model.eval()
        self._check_outputs(where)

    def _check_outputs(self, where: str) -> None:
        try:
            with torch.inference_mode():
                logits = self.model(self.inputs[:1].clone())
        except Exception as error:
            raise SubjectError(
                f"{where}: the model cannot run on its inputs {tuple(self.inputs[:1].shape)}: {error}"
            ) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
            came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise SubjectError(
                f"{where}: expected the model to return logits (1, K) for one input, came {came}; "
                "wrap the model in a module that returns them"
            )
        low, high = int(self.targets.min()), int(self.targets.max())
        if low < 0 or high >= logits.shape[1]:
            raise SubjectError(
                f"{where}: expected targets in 0…{logits.shape[1] - 1}, the model's outputs, "
                f"came {low}…{high}"
            )

    @property
    def is_image(self) -> bool:
        """Whether inputs are (N, C, H, W)."""
        return self.inputs.ndim == 4

    @property
    def spatial(self) -> tuple[int, ...]:
        """The features that are ranked: (H, W) for images, (D,) for columns, (T,) for tokens."""
        return tuple(self.inputs.shape[2:] if self.is_image else self.inputs.shape[1:2])

    @cached_property
    def offers(self) -> frozenset[str]:
        """What a check or a control may need of a subject."""
        names = {f"sibling {name}" for name in self.siblings} | set(self.truth)
        names |= {"image"} if self.is_image else set()
        names |= {"reference"} if self.reference is not None else set()
        names |= {"recipe"} if self.recipe is not None else set()
        names |= {"regions"} if self.regions is not None else set()
        names |= {"causal"} if self.causal else set()
        return frozenset(names)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that a result can depend on."""
        siblings = {name: digest_model(model) for name, model in self.siblings.items()}
        regions = self.regions if self.regions is not None else ""
        absent = "" if self.reference is None else self.reference(2, torch.Generator().manual_seed(0))
        model = digest_model(self.model)
        return digest(model, self.inputs, self.targets, dict(self.truth), siblings, regions, absent)

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {row: index for index, row in enumerate(digest_rows(self.inputs))}

    def locate(self, inputs: Tensor) -> Tensor:
        """(n,) int64: which of the subject's inputs each row of inputs (n, *F) is. Raises UnknownInput."""
        try:
            return torch.tensor([self._rows[row] for row in digest_rows(inputs)])
        except KeyError:
            raise UnknownInput(
                f"subject {self.name!r}: asked for the truth about an input that is not its own"
            ) from None

    def to(self, device: torch.device) -> "Subject":
        """The same subject with its models and tensors on a device; itself where they are there already."""
        if self.inputs.device == device:
            return self
        return Subject(
            name=self.name,
            model=self.model.to(device),
            inputs=self.inputs.to(device),
            targets=self.targets.to(device),
            reference=self.reference,
            regions=None if self.regions is None else self.regions.to(device),
            truth={key: value.to(device) for key, value in self.truth.items()},
            causal=self.causal,
            siblings={key: value.to(device) for key, value in self.siblings.items()},
            recipe=self.recipe,
            generated=self.generated,
        )
