"""The layers of a model: which weights reach its outputs, and in which order, as a forward pass shows."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from xattr_check.core.context import Contextual, chosen
from xattr_check.errors import Undefined

# Parts of the names of operations that multiply what they are given by a matrix of weights.
MAPS = ("mm", "conv", "linear", "mv", "lstm", "gru", "rnn", "attention")
# Among the origins of a tensor: it was computed from the inputs.
DATA = "the inputs"
# Among them, before its shape: a tensor that was there before, and that no module holds.
FOREIGN = "constant "


@dataclass(frozen=True)
class Layer:
    """Weights that meet the data in one linear map, and those that do so behind it, before the next map.

    So a layer does not depend on which module holds its weights, or on how modules are grouped.
    name: the module that holds the weights of its map, or these themselves where that is the model.
    weights: names of parameters and of other tensors of modules, as `weights_of` gives them.
    """

    name: str
    weights: tuple[str, ...]


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Tensors that a model may have learned, by name: all its parameters, and what is held as a constant.

    A constant is a buffer, or another attribute of a module, with two dimensions at least: statistics and
    scales have one.
    """
    found: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    for prefix, module in model.named_modules():
        held = {**dict(module.named_buffers(recurse=False)), **vars(module)}
        for name, value in held.items():
            if isinstance(value, Tensor) and value.ndim > 1:
                found.setdefault(f"{prefix}.{name}".strip("."), value)
    return found


def layers(model: nn.Module, inputs: Tensor) -> list[Layer]:
    """The layers that a forward pass on inputs (n, *F) goes through, from the input to the output.

    A weight that is used more than once belongs where it is used last. Raises Undefined where something is
    multiplied by weights that no module holds, or by quantised ones: they cannot be changed.
    """
    one = inputs[:1].detach().clone().requires_grad_()  # with a gradient, no layers are fused
    weights = weights_of(model)
    others = model.xattr_context.tables.values() if isinstance(model, Contextual) else ()
    meetings = Meetings(weights, one, others)
    with torch.enable_grad(), meetings, chosen(slice(1)):
        outputs = model(one)
    if meetings.foreign:
        raise Undefined(f"{meetings.foreign[0]}, which cannot be randomised")
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    order = {
        name: meetings.met[name]
        for name in meetings.origins_of(outputs) & meetings.met.keys() & weights.keys()
        if name in parameters or name in meetings.mapped
    }
    hidden = [name for name in parameters if name not in order]
    with chosen(slice(1)):
        matter = bool(hidden) and _matter(model, hidden, one.detach())
    if matter:
        order |= {name: meetings.read.get(name, -1) for name in hidden}
    return _joined(order, meetings.mapped)


def _matter(model: nn.Module, names: Sequence[str], inputs: Tensor) -> bool:
    """Whether outputs change with weights that were not seen to reach them, as where they pass as numbers."""
    other = copied(model)
    held = weights_of(other)
    with torch.no_grad():
        for name in names:
            held[name].mul_(1.5).add_(0.01)
        return not torch.equal(model(inputs), other(inputs))


def _joined(order: Mapping[str, int], mapped: Mapping[str, int]) -> list[Layer]:
    """Layers of weights that meet the data in operations of these numbers."""
    found: list[Layer] = []
    pending: list[str] = []
    for number in sorted(set(order.values()), reverse=True):
        together = sorted(name for name, one in order.items() if one == number)
        pending += together
        if any(mapped.get(name) == number for name in together):
            found.append(Layer(_holder(together[-1]), tuple(pending)))
            pending = []
    if pending and found:  # in front of the first map
        found[-1] = Layer(found[-1].name, (*found[-1].weights, *pending))
    elif pending:
        found = [Layer(_holder(pending[-1]), tuple(pending))]
    return found[::-1]


def _holder(weight: str) -> str:
    """The module that a weight belongs to, also where it is parametrised; the weight itself for the model."""
    module, parametrised, _ = weight.partition(".parametrizations.")
    return module if parametrised else weight.rpartition(".")[0] or weight


@dataclass(eq=False)
class Origins:
    """What the tensors of a storage were computed from; it is kept, so that its key stays its own."""

    names: frozenset[str]
    storage: torch.UntypedStorage


class Meetings(TorchDispatchMode):
    """Where weights meet what is computed from the inputs, in the operations of a forward pass.

    met: the number of the last operation in which a weight met the data, itself or in what was computed
    from weights alone, as a normalised or a masked weight is. mapped: of these, those that were linear maps.
    others: other inputs, which are no weights.
    read: the number of the last operation that read a weight. foreign: what stands for weights otherwise.
    """

    def __init__(self, weights: Mapping[str, Tensor], inputs: Tensor, others: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.met: dict[str, int] = {}
        self.mapped: dict[str, int] = {}
        self.read: dict[str, int] = {}
        self.foreign: list[str] = []
        self._known: dict[int, Origins] = {}
        self._number = 0
        for name, tensor in weights.items():
            self._enter(tensor, frozenset([name]))
        self._own = frozenset(self._known)
        for table in others:
            self._enter(table, frozenset())
        self._enter(inputs, frozenset([DATA]))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler for the sake of it, which takes seconds."""
        return False

    def origins_of(self, value: Any) -> frozenset[str]:
        """What the tensors of a value were computed from."""
        return frozenset().union(*(self._origins(one) for one in _tensors(value)))

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._number += 1
        operation = str(getattr(func, "overloadpacket", func)).rpartition(".")[2]
        given = _tensors((args, kwargs))
        for one in given if operation != "lift_fresh" else ():
            if one.ndim > 1 and _key(one) not in self._known:
                self._enter(one, frozenset([f"{FOREIGN}{tuple(one.shape)}"]))
        origins = [self._origins(one) for one in given]
        for one, names in zip(given, origins, strict=True):
            if _key(one) in self._own:
                self.read |= dict.fromkeys(names, self._number)
        if any(DATA in names for names in origins):
            self._meet(operation, given, origins)
            if any(isinstance(one, torch.ScriptObject) for one in pytree.tree_leaves((args, kwargs))):
                self.foreign.append(f"the model holds quantised weights, in {operation}")
        keys = {_key(one) for one in given}
        found = func(*args, **kwargs)
        # What only has the shape of another tensor is not computed from it.
        shaped = operation.endswith("_like") or operation.startswith("new_")
        everything: frozenset[str] = frozenset() if shaped else frozenset().union(*origins)
        for one in _tensors(found):
            same = _key(one) in keys  # a view, or changed in place
            self._enter(one, everything, beside=same)
        return found

    def _meet(self, operation: str, given: Sequence[Tensor], origins: Sequence[frozenset[str]]) -> None:
        maps = any(part in operation for part in MAPS)
        for one, names in zip(given, origins, strict=True):
            if DATA in names:
                continue
            self.met |= dict.fromkeys(names, self._number)
            if maps and one.ndim > 1:
                self.mapped |= dict.fromkeys(names, self._number)
                self.foreign += [
                    f"the model holds weights {name.removeprefix(FOREIGN)} that are in none of its modules"
                    for name in sorted(names)
                    if name.startswith(FOREIGN)
                ]

    def _origins(self, one: Tensor) -> frozenset[str]:
        known = self._known.get(_key(one) or 0)
        return frozenset() if known is None else known.names

    def _enter(self, one: Tensor, names: frozenset[str], beside: bool = True) -> None:
        if (key := _key(one)) is not None:
            before = self._origins(one) if beside else frozenset()
            self._known[key] = Origins(before | names, one.untyped_storage())


def _tensors(value: Any) -> list[Tensor]:
    return [one for one in pytree.tree_leaves(value) if isinstance(one, Tensor)]


def _key(one: Tensor) -> int | None:
    """What tells its storage from others; None for a tensor that has none."""
    return one.untyped_storage()._cdata if one.layout == torch.strided and not one.is_mkldnn else None


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model that shares nothing with it.

    Attributes that a hook computes from weights, which torch does not copy, are detached; the hook computes
    them anew.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)
