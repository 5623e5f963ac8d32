"""A run: the store, the seed, the device and the budget that its checks share."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xattr_check.core.context import rows
from xattr_check.core.identity import Identity
from xattr_check.core.subject import Subject
from xattr_check.errors import MethodError
from xattr_check.storage.digest import derive_seed, digest
from xattr_check.storage.store import Store, Tensors

Budget = Literal["quick", "standard", "full"]
# How many inputs a check may draw before it has to say "undecided".
BUDGETS: dict[Budget, int] = {"quick": 128, "standard": 512, "full": 4096}
MEBIBYTE = 2**20

OnProgress = Callable[[str], None]


class MapCache:
    """Maps and errors by key, the least recently used dropped where they take more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[str, Tensor | MethodError] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Tensor | MethodError | None:
        """What was put under the key, if it is still there."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: str, value: Tensor | MethodError) -> None:
        """Keep a value, and drop what was not asked for the longest."""
        self._kept[key] = value
        self._bytes += _size(value)
        while self._bytes > self.limit and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(value: Tensor | MethodError) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


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
    warn: told what a user would want to know before the run is over.
    """

    store: Store
    seed: int = 0
    budget: Budget = "quick"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    memory: int = 256 * MEBIBYTE
    batch: int = 32
    timeout: float = 300.0
    progress: OnProgress = silent
    warn: OnProgress = silent
    maps: MapCache = field(default_factory=lambda: MapCache(1024 * MEBIBYTE))
    _models: "weakref.WeakKeyDictionary[nn.Module, Identity]" = field(
        default_factory=weakref.WeakKeyDictionary
    )
    _memo: dict[str, Any] = field(default_factory=dict)

    def model_digest(self, model: nn.Module, example: Tensor | None = None) -> str:
        """Digest of a model as it is now, computed once while it stays that; example: as for `Identity`."""
        return self._models.setdefault(model, Identity()).digest(model, example)

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """What compute returns, the first time in this run; for models, which the store does not hold."""
        if key not in self._memo:
            self._memo[key] = compute()
        return self._memo[key]

    def forget(self) -> None:
        """Let go of what was computed once, with the subjects and models that it holds."""
        # Maps are kept by the identity of what made them, which another one may have once it is gone.
        self._memo.clear()
        self.maps = MapCache(self.maps.limit)

    @property
    def limit(self) -> int:
        """How many inputs a check may draw, but for what is nearly clear then."""
        return BUDGETS[self.budget]

    def draws(
        self,
        check: str,
        subject: Subject,
        inputs: int,
        then: int = 0,
        times: float = 1,
        parts: Sequence[int] = (),
    ) -> "Iterator[Draw]":
        """Draws of so many of the subject's inputs each, until they or the budget are exhausted.

        inputs, then: of the first, and of the others where that is another number. times: so many budgets
        are drawn, the first of them as it would be alone. parts: so many of the inputs are drawn before the
        others, and so many before those, so that draws stay as they were before there were more inputs.

        The order follows from the seed alone, so that all checks see the same batches and share maps.
        """
        generator = torch.Generator().manual_seed(derive_seed("order", self.seed))
        most = int(times * self.limit)
        bounds = [0, *parts, len(subject.inputs)]
        orders = [
            torch.randperm(stop - start, generator=generator) + start for start, stop in pairwise(bounds)
        ]
        order = torch.cat(orders)[:most]
        cuts = {min(inputs, self.limit, *parts), self.limit, *parts}
        first, *others = order.tensor_split(sorted(cut for cut in cuts if cut < len(order)))
        later = [part for rest in others for part in rest.split(then or inputs)]
        for number, indices in enumerate((first, *later)):
            yield Draw(self, subject, indices, derive_seed(check, self.seed, number))


# The runs whose methods are at work, the innermost last.
_runs: list[Run] = []


@contextmanager
def at_work(run: Run) -> Iterator[None]:
    """A scope in which a method of a run is called, and what it has to learn is kept in the run's store."""
    _runs.append(run)
    try:
        yield
    finally:
        _runs.pop()


def current_run() -> Run | None:
    """The run whose method is called; None where somebody calls one by hand."""
    return _runs[-1] if _runs else None


@dataclass(frozen=True, eq=False)
class Draw:
    """One independent draw: some inputs of the subject and a seed.

    indices: (n,) int64, which of the subject's inputs.
    """

    run: Run
    subject: Subject
    indices: Tensor
    seed: int

    def scope(self) -> AbstractContextManager[None]:
        """In which models find the other inputs of the draw's rows."""
        return rows(self.indices.cpu()) if self.subject.context else nullcontext()

    @property
    def valid(self) -> Tensor | None:
        """(n, P) bool, which features are no padding; None where all of them are none."""
        found = self.subject.valid
        return None if found is None else found[self.indices.to(found.device)]

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
        """Tensors that depend on the subject, the draw and the parameters alone, from the store.

        What was computed by a model that is no longer what the fingerprint says is not kept there.
        """
        fingerprint = self.subject.fingerprint
        key = {
            "subject": fingerprint,
            "indices": digest(self.indices),
            "seed": self.seed,
            "device": self.run.device.type,
            **parameters,
        }

        def intact() -> bool:
            return self.subject.fingerprint == fingerprint and self.subject.computes_as_before()

        found = self.run.store.fetch(kind, key, compute, intact)
        return {name: tensor.to(self.run.device) for name, tensor in found.items()}
