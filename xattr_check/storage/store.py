"""The store: results that do not depend on the method, kept by content and shared by runs and workers."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xattr_check.errors import UsageError
from xattr_check.storage.digest import digest
from xattr_check.storage.files import keep_out_of_git, make_folder, tell_unwritable, user_folder, written

# Part of every key: entries of another format are never read.
FORMAT = 1

Tensors = dict[str, Tensor]


class StoreWarning(UserWarning):
    """An entry of the store was damaged; it was dropped and is computed again."""


def made_once(kind: str, parameters: Mapping[str, Any], compute: Callable[[], Tensors]) -> Tensors:
    """What a user's machine computes once for all projects, as `Store.fetch`, such as a data set.

    Where the user's caches cannot be written, it is computed at every call.
    """
    try:
        store = Store(user_folder() / "store")
    except UsageError:
        return compute()
    return store.fetch(kind, parameters, compute)


class Store:
    """A folder of safetensors files, named by the digest of what they depend on.

    Entries are written atomically under a lock and checked on reading: what is damaged is named in a
    warning, dropped and computed again.

    Raises UsageError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with tell_unwritable("--xattr-storage", folder.parent, "folder", "pass --xattr-storage=DIR"):
            make_folder(folder)
            keep_out_of_git(folder)

    def path(self, kind: str, parameters: Mapping[str, Any]) -> Path:
        """Where an entry lies."""
        key = digest(kind, FORMAT, parameters)
        return self.folder / kind / key[:2] / f"{key}.safetensors"

    def fetch(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        compute: Callable[[], Tensors],
        keep: Callable[[], bool] = lambda: True,
    ) -> Tensors:
        """The entry of that kind and those parameters, computed once, by whichever worker comes first.

        parameters: everything the result depends on: digests, names, numbers, lists of them.
        compute: returns tensors by name; they come back on the CPU.
        keep: asked after that whether the parameters still tell what they depend on; else nothing is stored.
        """
        path = self.path(kind, parameters)
        path.parent.mkdir(parents=True, exist_ok=True)
        found = self._read(path)
        if found is not None:
            return found
        with FileLock(path.with_suffix(".lock")):
            found = self._read(path)  # another worker may have been faster
            if found is None:
                found = {name: tensor.detach().cpu().contiguous() for name, tensor in compute().items()}
                if keep():
                    self._write(path, found, parameters)
        return found

    def read(self, kind: str, parameters: Mapping[str, Any]) -> Tensors | None:
        """The entry of that kind and those parameters, or None; for what a lock of the caller's guards."""
        return self._read(self.path(kind, parameters))

    def write(self, kind: str, parameters: Mapping[str, Any], tensors: Tensors) -> None:
        """Put an entry in the place of what was there."""
        path = self.path(kind, parameters)
        self._write(path, {name: t.detach().cpu().contiguous() for name, t in tensors.items()}, parameters)

    def remove(self, kind: str, parameters: Mapping[str, Any]) -> None:
        """Take an entry away, if it is there."""
        self.path(kind, parameters).unlink(missing_ok=True)

    def _write(self, path: Path, tensors: Tensors, parameters: Mapping[str, Any]) -> None:
        metadata = {"checksum": digest(tensors), "parameters": json.dumps(parameters, default=str)}
        with written(path) as part:
            save_file(tensors, part, metadata=metadata)

    def _read(self, path: Path) -> Tensors | None:
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                checksum = (file.metadata() or {}).get("checksum")
        except (SafetensorError, OSError, ValueError) as error:
            self._drop(path, str(error))
            return None
        if checksum != digest(tensors):
            self._drop(path, "its checksum does not match its content")
            return None
        return tensors

    def _drop(self, path: Path, reason: str) -> None:
        # Dropped first: where warnings are errors, the next run is spared.
        path.unlink(missing_ok=True)
        warnings.warn(
            f"{path} is damaged ({reason}); it is dropped and computed again", StoreWarning, stacklevel=4
        )
