"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from xattr_check.errors import UsageError


def user_folder() -> Path:
    """Where a user's caches lie, by the XDG base directory specification; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xattr-check"


def check_writable(path: Path, option: str = "--xattr-json") -> None:
    """Raise UsageError where a file cannot be written; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            raise IsADirectoryError(0, "a folder")
    except OSError as error:
        raise UsageError(
            option=option,
            value=str(path),
            expected="a file that can be written",
            came=str(error.strerror),
            hint=f"pass {option}=FILE in a folder of yours",
        ) from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, into a folder that is made for it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
