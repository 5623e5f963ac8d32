"""What a method may not change: the model it is given, and the random generators."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xattr_check.core.contents import Contents, Names, inside, is_function, tell_change
from xattr_check.core.devices import (
    in_float32,
    random_states,
    restore_random_states,
    seed_random,
    tf32_switches,
)

Kind = Literal["weights", "gradients", "mode", "hooks", "attributes"]
# What a change of a module's own names is told as; whatever else it holds is an attribute.
KINDS: dict[str, Kind] = {
    "training": "mode",
    "_parameters": "weights",
    "_buffers": "weights",
    "_modules": "weights",
    "_non_persistent_buffers_set": "weights",
    "forward": "hooks",
    **{name: "hooks" for name in vars(nn.Module()) if "hook" in name},
}
# Tables of hooks that a tensor may have.
TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was.

    place: what it is, whatever its value. text: what it is, and how it changed where that can be told.
    """

    kind: Kind
    place: str
    text: str


def by_kind(changes: Iterable[Change]) -> dict[str, list[str]]:
    """Changes in words, each once, under each kind."""
    found: dict[str, list[str]] = {kind: [] for kind in get_args(Kind)}
    for change in changes:
        if change.text not in found[change.kind]:
            found[change.kind].append(change.text)
    return found


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal to the last bit; a NaN is no change from a NaN."""
    return _alike(one, other) and (
        torch.equal(one, other) or torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and one.device == other.device
        and one.stride() == other.stride()
    )


def _comparable(tensor: Tensor) -> bool:
    """Whether its values are all there to be compared: not sparse, nor yet to be made."""
    there = tensor.layout == torch.strided and tensor.device.type != "meta"
    return there and not (tensor.is_quantized or is_lazy(tensor))


class _TensorState:
    """What a tensor held: its values, its gradient, its hooks, whether it asks for a gradient."""

    __slots__ = ("attributes", "gradient", "hooks", "kind", "name", "requires_grad", "tensor", "value")

    def __init__(self, name: str, kind: Kind, tensor: Tensor) -> None:
        self.name, self.kind, self.tensor = name, kind, tensor
        self.value = _copy(tensor) if _comparable(tensor) else None
        self.requires_grad = tensor.requires_grad
        gradient = tensor.grad if tensor.is_leaf else None
        self.gradient = None if gradient is None else (gradient, _copy(gradient))
        tables = [getattr(tensor, table, None) for table in TENSOR_HOOKS]
        self.hooks = [None if table is None else Contents(table) for table in tables]
        self.attributes = Contents(vars(tensor))

    def changed(self) -> Iterator[Change]:
        name, tensor = self.name, self.tensor
        if self.value is not None and not _same(tensor, self.value):
            yield Change(self.kind, name, name)
        if not self._same_gradient():
            yield Change("gradients", f"gradient of {name}", name)
        if tensor.requires_grad != self.requires_grad:
            yield Change("mode", f"{name}.requires_grad", f"{name}.requires_grad")
        for table, hooks in zip(TENSOR_HOOKS, self.hooks, strict=True):
            now = getattr(tensor, table, None)
            if now if hooks is None else any(hooks.changed()) or now is not hooks.container:
                yield Change("hooks", f"{table} of {name}", name)
        for key, before, now in self.attributes.changed():
            yield Change("attributes", f"{key} of {name}", tell_change(f"{key} of {name}", before, now))

    def _same_gradient(self) -> bool:
        now = self.tensor.grad if self.tensor.is_leaf else None
        if self.gradient is None or now is None:
            return self.gradient is None and now is None
        return _same(now, self.gradient[1])

    def restore(self) -> None:
        tensor = self.tensor
        for table, hooks in zip(TENSOR_HOOKS, self.hooks, strict=True):
            now = getattr(tensor, table, None)
            if now is not None and hooks is None:
                setattr(tensor, table, None)
            elif hooks is not None:
                hooks.restore()
                if now is not hooks.container:
                    setattr(tensor, table, hooks.container)
        self.attributes.restore()
        if self.value is not None:
            _put(tensor, self.value)
        if tensor.is_leaf and tensor.requires_grad != self.requires_grad:
            tensor.requires_grad_(self.requires_grad)
        if self.gradient is not None:
            _put(*self.gradient)
        kept = None if self.gradient is None else self.gradient[0]
        if tensor.is_leaf and tensor.grad is not kept:
            tensor.grad = kept


def _as_tensor(value: Any) -> Tensor | None:
    """A tensor, or an array as one that shares its memory; None for what is neither, or cannot be written."""
    if not isinstance(value, np.ndarray):
        return value if isinstance(value, Tensor) else None
    if not value.flags.writeable or value.dtype.kind not in "fiub" or min(value.strides, default=0) < 0:
        return None
    return torch.from_numpy(value)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _put(tensor: Tensor, value: Tensor) -> None:
    """Give a tensor the values, and the shape, that it had."""
    if not _alike(tensor, value):
        tensor.data = value.clone()
    elif not _same(tensor, value):
        with torch.inference_mode() if tensor.is_inference() else torch.no_grad():
            tensor.copy_(value)


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model by name, those that it keeps in plain lists and dicts among them."""
    found = {name or "model": module for name, module in model.named_modules()}
    seen = {id(module) for module in found.values()}
    waiting = list(found.items())
    while waiting:
        label, module = waiting.pop()
        for key, value in vars(module).items():
            if key in KINDS or not isinstance(value, dict | list | tuple):
                continue
            for number, part in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(part, nn.Module) and id(part) not in seen:
                    inner = {
                        f"{label}.{key}.{number}{'.' if name else ''}{name}": child
                        for name, child in part.named_modules()
                        if id(child) not in seen
                    }
                    seen |= {id(child) for child in inner.values()}
                    found |= inner
                    waiting += inner.items()
    return found


class _ModuleState:
    """What a module held: all that stands under its names, and in the containers that stand there."""

    __slots__ = ("contents", "label", "module", "names", "type")

    def __init__(self, label: str, module: nn.Module) -> None:
        self.label, self.module, self.type = label, module, type(module)
        self.names = Contents(vars(module))
        self.contents = {
            key: Contents(held) for key, value in vars(module).items() if (held := inside(value)) is not None
        }

    def changed(self) -> Iterator[Change]:
        if type(self.module) is not self.type:
            yield self._attribute("class", self.type, type(self.module))
        for key, before, now in self.names.changed():
            yield self._named(key, before, now)
        for key, contents in self.contents.items():
            for inner, before, now in contents.changed():
                yield self._held(key, inner, before, now)

    def _attribute(self, name: str, before: Any, now: Any) -> Change:
        place = f"{name} of {self.label}"
        return Change("attributes", place, tell_change(place, before, now))

    def _named(self, key: str, before: Any, now: Any) -> Change:
        """A name of the module that stands for something else."""
        kind = KINDS.get(key, "attributes")
        if kind == "attributes":
            return self._attribute(key, before, now)
        told = {"forward": f"{self.label}.forward"}.get(key, self.label)
        return Change(kind, f"{key} of {self.label}", told)

    def _held(self, key: str, inner: Any, before: Any, now: Any) -> Change:
        """A part of one of the module's tables or containers that is something else."""
        kind = KINDS.get(key, "attributes")
        if kind == "attributes":
            return self._attribute(f"{key}[{inner!r}]", before, now)
        if key in ("_parameters", "_buffers"):
            name = f"{self.label}.{inner}" if self.label != "model" else str(inner)
            return Change(kind, name, name)
        told = f"submodules of {self.label}" if kind == "weights" else self.label
        return Change(kind, f"{key} of {self.label}", told)

    def restore(self) -> None:
        if type(self.module) is not self.type:
            self.module.__class__ = self.type
        self.names.restore()
        for contents in self.contents.values():
            contents.restore()


class ModelState:
    """A snapshot of a model: of its modules all that they hold, of its tensors what belongs to them.

    What the classes of its modules say belongs to it as well, since that is what is computed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = [_ModuleState(label, module) for label, module in _modules(model).items()]
        kinds = {
            kind for module in self.modules for kind in module.type.__mro__ if issubclass(kind, nn.Module)
        }
        self.classes = {kind: Names(kind) for kind in kinds}
        tensors: dict[int, _TensorState] = {}
        for name, told, tensor in self._named_tensors():
            if id(tensor) not in tensors:
                tensors[id(tensor)] = _TensorState(name, told, tensor)
        self.tensors = list(tensors.values())

    def _named_tensors(self) -> Iterator[tuple[str, Kind, Tensor]]:
        """Parameters and buffers, under the names that torch gives them, and those that are attributes."""
        if any("_parameters" not in state.contents for state in self.modules):  # compiled
            for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers()):
                yield name, "weights", tensor
        for state in self.modules:
            label = state.label
            for key in ("_parameters", "_buffers"):
                for name, tensor in state.contents[key].items() if key in state.contents else ():
                    if tensor is not None:
                        yield name if label == "model" else f"{label}.{name}", "weights", tensor
            held = {key: value for key, value in vars(state.module).items() if key not in KINDS}
            for key, contents in state.contents.items():
                if key not in KINDS:
                    held |= {f"{key}[{inner!r}]": value for inner, value in contents.items()}
            for key, value in held.items():
                if (shared := _as_tensor(value)) is not None:
                    yield f"{key} of {label}", "attributes", shared

    def changes(self) -> list[Change]:
        """All that is not as it was, each place once."""
        found: dict[tuple[Kind, str], Change] = {}
        parts = [*(state.changed() for state in self.modules), *(state.changed() for state in self.tensors)]
        for change in chain.from_iterable(parts):
            found.setdefault((change.kind, change.place), change)
        for kind, names in self.classes.items():
            for name, before, now in names.changed():
                place = f"{name} of class {kind.__name__}"
                told: Kind = "hooks" if is_function(before) or is_function(now) else "attributes"
                text = place if told == "hooks" else tell_change(place, before, now)
                found.setdefault((told, place), Change(told, place, text))
        return list(found.values())

    def differences(self) -> dict[str, list[str]]:
        """What changed, in words, under `weights`, `gradients`, `mode`, `hooks` and `attributes`."""
        return by_kind(self.changes())

    def restore(self) -> None:
        """Put everything back as it was."""
        for names in self.classes.values():
            names.restore()
        for module in self.modules:
            module.restore()
        for tensor in self.tensors:
            tensor.restore()


def generator_states() -> tuple[Any, ...]:
    """States of Python's, NumPy's and torch's global generators, those of the accelerator included."""
    own = random_states()
    return random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state(), own


def restore_generators(states: tuple[Any, ...]) -> None:
    """Set the global generators to states that `generator_states` returned."""
    python, numpy, cpu, accelerator = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    restore_random_states(accelerator)


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Not torch.manual_seed: where CUDA waits to be initialised, it records the stack of every call.
    torch.default_generator.manual_seed(seed)
    seed_random(seed)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Multiply in full float32 on an accelerator; the process's switches are put back at the end.

    TF32 rounds at 1e-3, which is what batch mates and a careless method may not change. Where a device has
    no float64, figures on it are of float32.
    """
    switches = tf32_switches(device)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = False
        with in_float32(device):
            yield
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed


@contextmanager
def preserved_generators(seed: int) -> Iterator[None]:
    """Seed the global generators, and put them back as they were at the end."""
    before = generator_states()
    seed_generators(seed)
    try:
        yield
    finally:
        restore_generators(before)
