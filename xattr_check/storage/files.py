"""Files that are written whole or not at all."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xattr_check.errors import UsageError


def user_folder() -> Path:
    """Where a user's caches lie, by the XDG base directory specification; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xattr-check"


@contextmanager
def tell_unwritable(option: str, path: Path, kind: str = "file", hint: str = "") -> Iterator[None]:
    """Raise UsageError about an option in the place of an OSError: its file or folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            option=option,
            value=str(path),
            expected=f"a {kind} that can be written",
            came=error.strerror or str(error),
            hint=hint,
        ) from None


def check_writable(path: Path, option: str = "--xattr-json") -> None:
    """Raise UsageError where a file cannot be written; its folder is made."""
    with tell_unwritable(option, path, hint=f"pass {option}=FILE in a folder of yours"):
        make_folder(path.parent)
        if path.is_dir():
            raise IsADirectoryError(0, "a folder")


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there. Raises OSError where no file can be written in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def keep_out_of_git(folder: Path) -> None:
    """Make git overlook what is in a folder. Raises OSError."""
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A new file beside a path, for the block to fill; it takes the path when the block ends, or is gone.

    The folder is made. The file has the permissions of any that the user makes, whatever wrote it. Raises
    OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{secrets.token_hex(8)}.part")
    part.touch(exist_ok=False)
    permissions = part.stat().st_mode & 0o777
    try:
        yield part
        part.chmod(permissions)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, into a folder that is made for it. Raises OSError."""
    with written(path) as part:
        part.write_bytes(content)
