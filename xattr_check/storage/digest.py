"""Content digests: what names a tensor, a model or a set of parameters in the store and in caches."""

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn


def _bytes(tensor: Tensor) -> bytes:
    # Through uint8, because numpy has no bfloat16.
    flat = tensor.detach().cpu().contiguous().reshape(-1)
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
            state.update(json.dumps(part, sort_keys=True).encode())
        state.update(b"\x00")
    return state.hexdigest()


def digest_rows(inputs: Tensor) -> list[int]:
    """One 63-bit integer for each row of inputs (N, *F): the same row gives the same number in any batch."""
    rows = inputs.detach().cpu().contiguous()
    return [int.from_bytes(hashlib.blake2b(_bytes(row), digest_size=8).digest(), "big") >> 1 for row in rows]


def digest_model(model: nn.Module) -> str:
    """Digest of the architecture as printed, of its own classes' source, of every parameter and buffer.

    Plain attributes of modules, such as a temperature, count too; whether they are in train mode does not.
    """
    own = {type(module) for module in model.modules() if not type(module).__module__.startswith("torch.")}
    plain = {name: _plain(module) for name, module in model.named_modules()}
    return digest(str(model), {str(kind): _source(kind) for kind in own}, plain, dict(model.state_dict()))


def _plain(module: nn.Module) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if name != "training" and not name.startswith("_") and isinstance(value, bool | int | float | str)
    }


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
