"""What a call costs: passes through a model, and memory."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from xattr_check.core.devices import counts_memory


class Passes:
    """How many inputs go through a model, forwards and backwards, and not how many calls there are.

    Backwards, it is the gradients that arrive at one place: where the most do, of the modules that are not
    called more often than the model. So passes that begin or end inside count, and re-used modules do not
    count twice.
    """

    def __init__(self) -> None:
        self._forwards: Counter[str] = Counter()
        self._backwards: Counter[str] = Counter()

    @property
    def forwards(self) -> int:
        """Inputs of all forward passes."""
        return self._forwards[""]

    @property
    def backwards(self) -> int:
        """Inputs of all backward passes."""
        places = [name for name, rows in self._forwards.items() if rows <= self.forwards]
        return max((self._backwards[name] for name in places), default=0)

    @contextmanager
    def through(self, model: nn.Module) -> Iterator[None]:
        """Count in its scope."""
        handles = [
            module.register_forward_hook(partial(self._called, name))
            for name, module in model.named_modules()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _called(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        # Out of sight of methods that watch every torch function.
        with torch._C.DisableTorchFunction():
            if isinstance(output, Tensor) and output.ndim:
                # Of nested tensors, which torch's encoders pass on without padding, there is no length.
                self._forwards[name] += output.size(0)
                if output.requires_grad:
                    output.register_hook(partial(self._returned, name))

    def _returned(self, name: str, gradients: Tensor) -> None:
        self._backwards[name] += len(gradients)


class Storages(TorchDispatchMode):
    """Bytes of the tensors that are made in its scope, and their peak; what was there before does not count.

    Memory that an operation takes for itself while it runs is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler for the sake of it, which takes seconds."""
        return False

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for given in pytree.tree_leaves((args, kwargs)):
            self._meet(given, new=False)
        found = func(*args, **kwargs)
        for one in pytree.tree_leaves(found):
            self._meet(one, new=True)
        return found

    def _meet(self, value: Any, *, new: bool) -> None:
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            return
        storage = value.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if new else 0
        if key not in self._known:
            self._known[key] = weakref.ref(storage, partial(self._gone, key, size))
            self.now += size
            self.peak = max(self.peak, self.now)

    def _gone(self, key: int, size: int, _: Any) -> None:
        self._known.pop(key, None)
        self.now -= size


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[int]]:
    """The most bytes that tensors made in its scope took at once, in a list that is filled at its end."""
    found: list[int] = []
    if counts_memory(device):
        own = torch.get_device_module(device)
        before = own.memory_allocated(device)
        own.reset_peak_memory_stats(device)
        yield found
        found.append(own.max_memory_allocated(device) - before)
        return
    with Storages() as storages:
        yield found
    found.append(storages.peak)
