"""Content digests: what names a tensor, a model or a set of parameters in the store and in caches."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xattr_check.storage.surroundings import surroundings

_written = json.JSONEncoder(sort_keys=True).encode


def _bytes(tensor: Tensor) -> bytes:
    # Through uint8, because numpy has no bfloat16.
    whole = tensor.detach().cpu().contiguous()
    # One number alone is contiguous whatever its stride is, and reshaping keeps that.
    flat = whole.as_strided((whole.numel(),), (1,))
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def digest(*parts: Any) -> str:
    """Hexadecimal digest of tensors, strings, numbers, and nested lists and mappings of them."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            state.update(f"{part.dtype}{tuple(part.shape)}".encode())
            state.update(_bytes(part))
        elif isinstance(part, Mapping):
            state.update(b"{")
            for key in sorted(part, key=str):
                state.update(f"{key}={digest(part[key])};".encode())
            state.update(b"}")
        elif isinstance(part, list | tuple):
            state.update(f"[{','.join(digest(item) for item in part)}]".encode())
        else:
            state.update(_written(part).encode())
        state.update(b"\x00")
    return state.hexdigest()


def digest_rows(inputs: Tensor) -> list[int]:
    """One 63-bit integer for each row of inputs (N, *F): the same row gives the same number in any batch."""
    rows = inputs.detach().cpu().contiguous()
    return [int.from_bytes(hashlib.blake2b(_bytes(row), digest_size=8).digest(), "big") >> 1 for row in rows]


def digest_model(model: nn.Module, read: str | None = None) -> str:
    """Digest of the architecture as printed, of its own classes' source, and of all that its modules hold.

    That is every parameter and buffer, the plain attributes, such as a temperature, and the hooks by what
    they do, and what the code of all these reads besides, such as a global; whether the modules are in train
    mode does not count.

    read: what `digest_surroundings` gave, where that is known already.
    """
    kinds = {base for module in model.modules() for base in type(module).__mro__}
    own = {kind for kind in kinds if not kind.__module__.startswith(("torch.", "builtins"))}
    held, read = describe_model(model, _content), digest_surroundings(model) if read is None else read
    return digest(str(model), {str(kind): _source(kind) for kind in own}, held, read)


Tell = Callable[[Tensor], Any]
# Modules that are being described: one may hold another that holds it.
_open: ContextVar[frozenset[int]] = ContextVar("_open", default=frozenset())
# Tables of functions that a module calls when it runs; their keys count up through a process.
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
SCALARS = frozenset((bool, int, float, str, type(None)))
# What else every module has: told elsewhere, or of no effect on what it computes.
SILENT = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", *HOOKS}


def describe_model(model: nn.Module, tell: Tell) -> dict[str, dict[str, Any]]:
    """What each module holds that its outputs may depend on, by its name, with tensors as `tell` puts them.

    It is the same in every process; an object counts by its class and its plain attributes.
    """
    token = _open.set(_open.get() | {id(module) for module in model.modules()})
    try:
        found = {name: _describe_module(module, tell) for name, module in model.named_modules()}
    finally:
        _open.reset(token)
    if any("_parameters" not in vars(module) for module in model.modules()):  # compiled
        found["state"] = {name: tell(tensor) for name, tensor in model.state_dict().items()}
    return found


def digest_surroundings(model: nn.Module) -> str:
    """Digest of what the code of a model reads besides it; of what resists, the class counts."""

    def told(value: Any) -> Any:
        try:
            return _describe(value, _content, 2)
        except Exception:  # of whatever an object of the user's raises when it is looked at
            return _name(type(value))

    return digest({name: told(value) for name, value in surroundings(model).items()})


def _describe_module(module: nn.Module, tell: Tell) -> dict[str, Any]:
    found: dict[str, Any] = {"class": _name(type(module))}
    for key, value in vars(module).items():
        if key in HOOKS:
            if value:
                found[key] = [_describe(hook, tell, 1) for hook in value.values()]
        elif key not in SILENT:
            found[key] = value if type(value) in SCALARS else _describe(value, tell, 2)
    return found


def _describe(value: Any, tell: Tell, depth: int) -> Any:
    """A value as numbers, strings, and lists and mappings of them; depth: how far to look into it."""
    if type(value) in SCALARS:
        return value
    if isinstance(value, list | tuple) and depth:
        return [part if type(part) in SCALARS else _describe(part, tell, depth - 1) for part in value]
    if isinstance(value, Tensor):
        return tell(value)
    if isinstance(value, np.ndarray):
        return [str(value.dtype), *value.shape, hashlib.blake2b(value.tobytes()).hexdigest()]
    if isinstance(value, torch.dtype | torch.device | np.generic | complex | bytes | str):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(map(_key, value))
    if isinstance(value, FunctionType):
        return [_name(value), *_describe_code(value.__code__)]
    if isinstance(value, partial) and depth:
        parts = [value.func, list(value.args), value.keywords]
        return [_describe(part, tell, depth) for part in parts]
    if isinstance(value, type | MethodType | BuiltinFunctionType):
        return _name(value)
    if isinstance(value, nn.Module) and depth:
        return _name(type(value)) if id(value) in _open.get() else describe_model(value, tell)
    # What torch's own objects hold may count up through a process.
    own = {} if type(value).__module__.startswith("torch.") else getattr(value, "__dict__", {})
    inside = value if isinstance(value, dict | Mapping) else own
    if not depth:
        return _name(type(value))
    told = {_key(key): _describe(part, tell, depth - 1) for key, part in inside.items()}
    return told if inside is value else {"class": _name(type(value)), **told}


def _describe_code(code: CodeType) -> list[Any]:
    """What code does: its instructions with the names and the constants that they use."""
    constants = [_describe_code(one) if isinstance(one, CodeType) else _key((one,)) for one in code.co_consts]
    return [code.co_code.hex(), *code.co_names, *constants]


def _key(value: Any) -> str:
    """An object as a word that is the same in every process: without its place in memory, sets in order."""
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_key, value)))}}}"
    return re.sub(r" at 0x[0-9a-f]+", "", value if isinstance(value, str) else repr(value))


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def _content(tensor: Tensor) -> str:
    return type(tensor).__name__ if is_lazy(tensor) or tensor.is_meta else digest(tensor)


class TensorStamp:
    """A tensor as it is now, without a look at its values: the same while torch sees nothing write to it."""

    __slots__ = ("pointer", "tensor", "version")

    def __init__(self, tensor: Tensor) -> None:
        # Held, so that no other one takes its place in memory.
        self.tensor = tensor
        self.version = -1 if tensor.is_inference() else tensor._version
        self.pointer = 0 if is_lazy(tensor) or tensor.layout != torch.strided else tensor.data_ptr()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TensorStamp)
            and other.tensor is self.tensor
            and (other.version, other.pointer) == (self.version, self.pointer)
        )

    __hash__ = None  # type: ignore[assignment]


_sources: "WeakKeyDictionary[type, str]" = WeakKeyDictionary()


def _source(kind: type) -> str:
    """The source of a class, looked up once: that reads and parses its file."""
    if kind not in _sources:
        try:
            _sources[kind] = inspect.getsource(kind)
        except (OSError, TypeError):  # written at a prompt, or compiled
            _sources[kind] = ""
    return _sources[kind]


def derive_seed(*parts: Any) -> int:
    """A 63-bit seed that depends on every part, so that no two uses share a stream."""
    return int(digest(*parts)[:16], 16) >> 1


def safe_name(name: str) -> str:
    """A name as one of a file: itself where every system takes it, else what is left of it and a digest."""
    kept = re.sub(r"[^A-Za-z0-9_=-]+", "-", name).strip("-")[:80]
    # Capitals count as a change: two names that differ in case alone are one file on some systems.
    return name if kept == name.lower() and name else f"{kept}-{digest(name)[:8]}".lstrip("-")
