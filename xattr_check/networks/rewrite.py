"""The same model computed otherwise: copies that share its weights, with other work before and behind it."""

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.context import Contextual
from xattr_check.errors import Undefined

Plain = Callable[[Tensor], Tensor]
# (the model's own forward, inputs, the modules beside it) -> logits.
Compute = Callable[[Plain, Tensor, Any], Tensor]
BESIDE = "xattr_beside"


class Rewritten:
    """A copy of a model that computes something else with its layers.

    model: of the same class, with the same names inside, and with the weights of the original; its forward is
        replaced. Modules beside it are its child, where methods that look for modules find them: before the
        others, so that the last convolution stays the last, but behind them in an nn.Sequential, whose
        layers are known by their numbers.
    key: tells the copy from others of the same model, where models are told apart by their digests.
    whole, parts: how often the copy was called, and how often its first layer.

    Raises Undefined for a model whose forward cannot be replaced.
    """

    def __init__(self, model: nn.Module, key: str, compute: Compute, beside: nn.Module | None = None) -> None:
        if isinstance(model, torch.jit.ScriptModule) or "forward" in vars(model):
            raise Undefined("the model's forward function cannot be replaced: it is compiled, or its own")
        tensors = [*model.parameters(), *model.buffers()]
        self.model = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
        self.whole = self.parts = 0
        own = dict(self.model._modules)
        if beside is not None:
            if not isinstance(model, nn.Sequential):
                self.model._modules.clear()
            self.model._modules.update({BESIDE: beside, **own})
        self.model.xattr_rewritten = key  # type: ignore[assignment]

        # Functions, and not methods of this object: a method that copies the model must not copy it as well.
        def forward(module: nn.Module, inputs: Any = None, **given: Any) -> Tensor:
            self.whole += 1
            if isinstance(module, Contextual):
                inputs, given = module.xattr_floats(inputs, given)
            modules = dict(module._modules)

            def plain(inputs: Tensor) -> Tensor:
                module._modules.pop(BESIDE, None)  # a container calls all its children
                try:
                    logits: Tensor = type(module).forward(module, inputs, **given)
                finally:
                    module._modules.clear()
                    module._modules.update(modules)
                return logits

            return compute(plain, inputs, modules.get(BESIDE))

        def count(*_: Any) -> None:
            self.parts += 1

        self.model.forward = MethodType(forward, self.model)
        for child in own.values():
            if child is not None:
                first = next(module for module in child.modules() if not list(module.children()))
                first.register_forward_pre_hook(count)
                break

    @property
    def bypassed(self) -> bool:
        """Whether its layers were called, and it was not: who did so explained the original."""
        return bool(self.parts and not self.whole)
