"""Files are written whole or not at all, with the permissions that the user's own have."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.torch import save_file

from xattr_check.errors import UsageError
from xattr_check.storage.files import check_writable, write_bytes, written


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_permissions_are_the_user_s_whatever_wrote_the_file(umask: int, tmp_path: Path) -> None:
    write_bytes(tmp_path / "new" / "one", b"1")
    with written(tmp_path / "new" / "two") as part:
        save_file({}, part)
    with written(tmp_path / "new" / "three") as part:
        part.unlink()
        part.touch(0o600)
    for path in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_what_fails_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with suppress(KeyboardInterrupt), written(path) as part:
        part.write_bytes(b"ne")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_what_cannot_be_written_is_told_before_and_nothing_is_left(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(UsageError, match=r"--html='.*new': expected a file that can be written, came a fold"):
        check_writable(tmp_path / "new", "--html")
