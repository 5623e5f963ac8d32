"""What a process is given: its device or threads, and the terminal that shows progress."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerators import accelerators

from pytest_xattr.progress import ERASE, RESTORE, SAVE, Progress
from pytest_xattr.session import for_worker
from xattr_check.config.settings import Settings


def worker(number: int, count: int = 4) -> Any:
    """The config of an xdist worker."""
    return SimpleNamespace(workerinput={"workerid": f"gw{number}", "workercount": count})


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Devices that are set on a machine with two."""
    found: list[int] = []
    accelerators(monkeypatch, "cuda", 2)
    monkeypatch.setattr(torch.accelerator, "set_device_index", found.append)
    return found


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_each_worker_takes_its_own_device(
    chosen: list[int], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    accelerators(monkeypatch, kind, 2)
    devices = [for_worker(worker(number), Settings()).device for number in range(4)]
    assert devices == [f"{kind}:0", f"{kind}:1", f"{kind}:0", f"{kind}:1"]
    assert chosen == [0, 1, 0, 1]
    assert for_worker(worker(1), Settings(device=kind)).device == f"{kind}:1"


def test_device_that_is_named_is_kept(chosen: list[int]) -> None:
    assert for_worker(worker(0), Settings(device="cuda:1")).device == "cuda:1"
    assert for_worker(SimpleNamespace(), Settings()).device == "auto"
    assert chosen == []


@pytest.mark.parametrize(("threads", "expected"), [(8, 2), (3, 1), (2, 1)])
def test_workers_share_the_threads(monkeypatch: pytest.MonkeyPatch, threads: int, expected: int) -> None:
    given: list[int] = []
    accelerators(monkeypatch, "mps", 1)  # which is taken where it is asked for alone
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    assert for_worker(worker(3), Settings()).device == "auto"
    for_worker(worker(3), Settings(device="cpu"))
    assert given == [expected, expected]


class Terminal:
    """What a Progress needs of pytest's reporter, on a terminal of 40 columns."""

    hasmarkup = True

    def __init__(self) -> None:
        self.file = io.StringIO()
        self._tw = SimpleNamespace(fullwidth=40, width_of_current_line=8, _file=self.file)

    def isatty(self) -> bool:
        return True


def progress(terminal: Terminal, verbose: int = 0) -> Progress:
    manager = SimpleNamespace(get_plugin=lambda name: terminal if name == "terminalreporter" else None)
    config: Any = SimpleNamespace(option=SimpleNamespace(verbose=verbose), pluginmanager=manager)
    return Progress(config)


def test_on_a_terminal_progress_stands_beside_the_line_and_goes_again() -> None:
    terminal = Terminal()
    shown = progress(terminal)
    shown("deletion: draw 1")
    assert terminal.file.getvalue() == f"{SAVE} deletion: draw 1{ERASE}{RESTORE}"
    shown.clear()
    shown.clear()
    assert terminal.file.getvalue().endswith(f"{RESTORE}{ERASE}")


def test_progress_never_wraps() -> None:
    terminal = Terminal()
    progress(terminal)("a label that is longer than the line")
    text = terminal.file.getvalue().removeprefix(SAVE).removesuffix(ERASE + RESTORE)
    assert text.endswith("…")
    assert 8 + len(text) < 40


class Pipe(Terminal):
    """A reporter whose lines stay."""

    hasmarkup = False

    def isatty(self) -> bool:
        return False

    def ensure_newline(self) -> None:
        pass

    def write_line(self, line: str) -> None:
        self.file.write(f"{line}\n")


def test_where_lines_stay_there_is_one_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a minute without a verdict three lines, however much is told; none where verdicts come often."""
    now = 0.0
    monkeypatch.setattr("pytest_xattr.progress.time.monotonic", lambda: now)
    terminal = Pipe()
    shown = progress(terminal)
    for second in range(60):
        now = float(second)
        shown(f"deletion: control {second}")
    assert terminal.file.getvalue().splitlines() == [
        "xattr: deletion: control 15 …",
        "xattr: deletion: control 30 …",
        "xattr: deletion: control 45 …",
    ]
    for second in range(60, 120, 10):
        now = float(second)
        shown("insertion: draw 1")
        shown.clear()
    assert len(terminal.file.getvalue().splitlines()) == 4


def test_quiet_means_quiet() -> None:
    terminal = Terminal()
    progress(terminal, verbose=-1)("deletion: draw 1")
    assert terminal.file.getvalue() == ""
