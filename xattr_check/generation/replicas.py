"""Copies of a model for threads that work side by side, each on a core of its own."""

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from xattr_check.core.context import Contextual

T = TypeVar("T")
P = TypeVar("P")
# How far outputs of copies at work side by side may be off, by rounding.
ROUNDING = 1e-4
# How often they are compared: a model whose calls are in each other's way is found out in most of them.
COMPARED = 3


class Replicas:
    """A model, and what shares its weights with it: one for each thread, as in `nn.DataParallel`.

    A CPU makes more of small calls on a core each than of larger ones for which cores wait for each other
    layer by layer: a network for mobile devices gains a third to a half.

    most: so many threads work at once. One, where the model is not on the CPU, has hooks, which all copies
        would share, finds its other inputs by itself, cannot be copied, or says other things when it is
        called from several threads.
    """

    def __init__(self, model: nn.Module, example: Tensor, most: int) -> None:
        self.model, self.most = model, most
        self._here = threading.local()
        self._free: list[nn.Module] = []
        self._pool: ThreadPoolExecutor
        if self.most > 1 and not self._serve(example):
            self.most = 1

    def __call__(self, inputs: Tensor) -> Tensor:
        """What the copy says that belongs to the present thread."""
        found: Tensor = getattr(self._here, "model", self.model)(inputs)
        return found

    @property
    def working(self) -> int:
        """How many work at once here: no more than torch has threads, and in one of those one."""
        return 1 if hasattr(self._here, "model") else min(self.most, torch.get_num_threads())

    def map(self, work: Callable[[P], T], parts: Sequence[P]) -> list[T]:
        """What the work makes of each part, in their order: side by side, on as many cores as torch has here.

        Gradients are enabled in every thread where they are here.
        """
        if min(self.working, len(parts)) < 2:
            return [work(part) for part in parts]
        enabled = torch.is_grad_enabled()

        def apart(part: P) -> T:
            with torch.set_grad_enabled(enabled):
                return work(part)

        return list(self._pool.map(apart, parts))

    def _serve(self, example: Tensor) -> bool:
        modules = list(self.model.modules())
        if example.device.type != "cpu" or any(map(_is_shared, modules)):
            return False
        weights = {id(one): one for one in chain(self.model.parameters(), self.model.buffers())}
        threads = torch.get_num_threads()
        try:
            self._free = [copy.deepcopy(self.model, dict(weights)) for _ in range(self.most)]
            self._pool = ThreadPoolExecutor(self.most, "replica", self._begin)
            own = [self.model(one.clone()) for one in example.split(1)]
            for _ in range(COMPARED):
                # Neighbours are asked different things: what one says may be an answer to another.
                said = self._pool.map(lambda n: self(example[n % len(own)][None].clone()), range(self.most))
                pairs = ((one, own[number % len(own)]) for number, one in enumerate(said))
                if any(float((one - right).norm()) > ROUNDING * float(right.norm()) for one, right in pairs):
                    return False
        except Exception:  # of copying there are as many as there are models
            return False
        finally:
            torch.set_num_threads(threads)  # what threads set is also of those to come
        return True

    def _begin(self) -> None:
        torch.get_num_threads()  # which has to be known first: else what is set is lost
        torch.set_num_threads(1)
        self._here.model = self._free.pop()


def _is_shared(module: nn.Module) -> bool:
    """Whether copies of a module would be in each other's way."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    return isinstance(module, Contextual) or any(hooks) or bool(module._backward_pre_hooks)
