"""A run: the store, the seed, the device and the budget that its checks share."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.axiom import Budget
from xattr_check.digest import derive_seed, digest, digest_model
from xattr_check.errors import UsageError
from xattr_check.explainer import Explainer, MapCache
from xattr_check.method import Method
from xattr_check.store import Store, Tensors
from xattr_check.subject import Subject

# How many inputs a check may draw before it has to say "undecided".
BUDGETS: dict[Budget, int] = {"quick": 128, "standard": 512, "full": 4096}
MEBIBYTE = 2**20

Progress = Callable[[str], None]


def silent(label: str) -> None:
    """Report no progress."""


@dataclass(eq=False)
class Run:
    """What the checks of one run share.

    memory: bytes that a chunk of perturbed inputs and its activations may take.
    batch: how many inputs a method is given at once.
    timeout: seconds that one call of a method may take.
    maps: what methods returned, so that each map is computed once.
    progress: told what is being computed, whenever that is not the method itself.
    """

    store: Store
    seed: int = 0
    budget: Budget = "quick"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    memory: int = 256 * MEBIBYTE
    batch: int = 32
    timeout: float = 300.0
    progress: Progress = silent
    maps: MapCache = field(default_factory=lambda: MapCache(1024 * MEBIBYTE))
    _explainers: dict[tuple[int, str], tuple[Method, Explainer]] = field(default_factory=dict)
    _models: "weakref.WeakKeyDictionary[nn.Module, str]" = field(default_factory=weakref.WeakKeyDictionary)
    _memo: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            # TF32 rounds at 1e-3, which is what batch mates and a careless method may not change.
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False

    def explainer(self, method: Method, subject: Subject) -> Explainer:
        """The one explainer of a method on a subject, so that maps are computed once in a run."""
        key = (id(method), subject.fingerprint)
        if key not in self._explainers:
            # The method is kept beside it: its id must not be given to another one while the run lasts.
            self._explainers[key] = method, Explainer(method, subject, self)
        return self._explainers[key][1]

    def model_digest(self, model: nn.Module) -> str:
        """Digest of a model, computed once: what a method changes is put back after every call."""
        if model not in self._models:
            self._models[model] = digest_model(model)
        return self._models[model]

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """What compute returns, the first time in this run; for models, which the store does not hold."""
        if key not in self._memo:
            self._memo[key] = compute()
        return self._memo[key]

    @property
    def limit(self) -> int:
        """How many inputs a check may draw."""
        return BUDGETS[self.budget]

    def draws(self, check: str, subject: Subject, inputs: int) -> "Iterator[Draw]":
        """Draws of so many of the subject's inputs each, until they or the budget are exhausted.

        The order follows from the seed alone, so that all checks see the same batches and share maps.
        """
        generator = torch.Generator().manual_seed(derive_seed("order", self.seed))
        order = torch.randperm(len(subject.inputs), generator=generator)[: self.limit]
        for number, indices in enumerate(order.split(inputs)):
            yield Draw(self, subject, indices, derive_seed(check, self.seed, number))


@dataclass(frozen=True, eq=False)
class Draw:
    """One independent draw: some inputs of the subject and a seed.

    indices: (n,) int64, which of the subject's inputs.
    """

    run: Run
    subject: Subject
    indices: Tensor
    seed: int

    @cached_property
    def inputs(self) -> Tensor:
        """(n, *F) on the run's device."""
        return self.subject.inputs[self.indices.to(self.subject.inputs.device)]

    @cached_property
    def targets(self) -> Tensor:
        """(n,) int64 on the run's device."""
        return self.subject.targets[self.indices.to(self.subject.targets.device)]

    def truth(self, name: str) -> Tensor:
        """The rows of the subject's truth of that name."""
        rows = self.subject.truth[name]
        return rows[self.indices.to(rows.device)]

    def generator(self, *purpose: Any) -> torch.Generator:
        """A generator on the CPU for one purpose of this draw."""
        return torch.Generator().manual_seed(derive_seed(self.seed, *purpose))

    def shared(self, kind: str, compute: Callable[[], Tensors], **parameters: Any) -> Tensors:
        """Tensors that depend on the subject, the draw and the parameters alone, from the store."""
        key = {
            "subject": self.subject.fingerprint,
            "indices": digest(self.indices),
            "seed": self.seed,
            "device": self.run.device.type,
            **parameters,
        }
        found = self.run.store.fetch(kind, key, compute)
        return {name: tensor.to(self.run.device) for name, tensor in found.items()}


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device that is there. Raises UsageError otherwise."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"--xattr-device={name!r}: expected auto, cpu, cuda or cuda:N, for example cuda:0"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--xattr-device={name!r}: expected one of the {torch.cuda.device_count()} CUDA devices that "
            "torch sees here; use --xattr-device=cpu, or see CUDA_VISIBLE_DEVICES"
        )
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--xattr-device={name!r}: expected auto, cpu, cuda or cuda:N, for example cuda:0")
    return device
