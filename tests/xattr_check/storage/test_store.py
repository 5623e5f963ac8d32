import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xattr_check import Store, UsageError
from xattr_check.storage.store import StoreWarning, Tensors

KEY = {"subject": "abc", "seed": 3}


def counting(calls: list[int]) -> "object":
    def compute() -> Tensors:
        calls.append(1)
        return {"samples": torch.arange(6.0).reshape(2, 3), "ranks": torch.arange(4)}

    return compute


def test_what_its_parameters_no_longer_tell_is_not_kept(tmp_path: Path) -> None:
    calls: list[int] = []
    for kept in (False, True, False):
        found = Store(tmp_path).fetch("control", KEY, counting(calls), lambda kept=kept: kept)
        assert torch.equal(found["ranks"], torch.arange(4))
    assert len(calls) == 2


def test_an_entry_is_computed_once_and_kept(tmp_path: Path) -> None:
    calls: list[int] = []
    first = Store(tmp_path).fetch("control", KEY, counting(calls))
    again = Store(tmp_path).fetch("control", KEY, counting(calls))
    assert len(calls) == 1
    assert all(torch.equal(first[name], again[name]) for name in ("samples", "ranks"))


@pytest.mark.parametrize(
    ("kind", "key"), [("other", KEY), ("control", {**KEY, "seed": 4}), ("control", {"subject": "abc"})]
)
def test_another_key_is_another_entry(kind: str, key: dict[str, object], tmp_path: Path) -> None:
    calls: list[int] = []
    store = Store(tmp_path)
    store.fetch("control", KEY, counting(calls))
    store.fetch(kind, key, counting(calls))
    assert len(calls) == 2
    assert store.path("control", KEY) == store.path("control", dict(reversed(KEY.items())))


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped byte":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "no checksum":
        save_file({"samples": torch.zeros(2)}, path)
    else:
        path.write_bytes(os.urandom(200))


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped byte", "no checksum", "noise"])
def test_a_damaged_entry_is_named_dropped_and_computed_again(how: str, tmp_path: Path) -> None:
    calls: list[int] = []
    store = Store(tmp_path)
    first = store.fetch("control", KEY, counting(calls))
    path = store.path("control", KEY)
    damage(path, how)
    with pytest.warns(StoreWarning) as warned:
        again = store.fetch("control", KEY, counting(calls))
    assert [str(path) in str(item.message) for item in warned] == [True]
    assert "it is dropped and computed again" in str(warned[0].message)
    assert len(calls) == 2
    assert torch.equal(first["samples"], again["samples"])
    store.fetch("control", KEY, counting(calls))
    assert len(calls) == 2


def test_what_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    def fails() -> Tensors:
        raise RuntimeError("out of memory")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="out of memory"):
        store.fetch("control", KEY, fails)
    assert not store.path("control", KEY).exists()
    assert not list(tmp_path.rglob("*.part"))
    assert len(store.fetch("control", KEY, counting([]))) == 2


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.fetch("control", KEY, counting([]))
    assert not list(tmp_path.rglob("*.part"))
    assert len(store.fetch("control", KEY, counting([]))) == 2


def _worker(folder: str, log: str) -> None:
    def compute() -> Tensors:
        with open(log, "a") as file:
            file.write("computed\n")
        time.sleep(0.3)
        return {"samples": torch.ones(3)}

    found = Store(Path(folder)).fetch("control", KEY, compute)
    with open(log, "a") as file:
        file.write(f"got {int(found['samples'].sum())}\n")


def test_two_processes_compute_an_entry_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_worker, args=(str(tmp_path / "store"), str(log))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(log.read_text().split("\n")) == ["", "computed", "got 3", "got 3"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError) as raised:
        Store(tmp_path / "taken" / "store")
    assert str(raised.value) == (
        f"--xattr-storage='{tmp_path / 'taken'}': expected a folder that can be written, "
        f"came Not a directory; pass --xattr-storage=DIR"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="came Permission denied"):
        Store(tmp_path / "store")


def test_the_folder_is_kept_out_of_version_control(tmp_path: Path) -> None:
    Store(tmp_path / "store")
    assert (tmp_path / "store" / ".gitignore").read_text() == "*\n"
