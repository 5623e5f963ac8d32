"""Processes that share work: each goes on with what it has begun, whose maps it has."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from xattr_check.core.run import OnProgress

# Seconds after which it is told that work goes on.
SILENCE = 30.0
# Does a task on the bench of a process, and gives what came of it.
Do = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class Task:
    """A piece of work.

    about: tasks about the same are best done by one process. do: what is called with its bench.
    """

    about: Hashable
    do: Do


class Tasks:
    """What waits to be done; while some of it is, more may be added."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._waiting: dict[Hashable, deque[Task]] = {}
        # The processes that have done something about each.
        self._known: dict[Hashable, set[int]] = {}
        self.add(tasks)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, tasks: Iterable[Task]) -> None:
        """Let these be done as well."""
        for task in tasks:
            self._waiting.setdefault(task.about, deque()).append(task)

    def drop(self) -> int:
        """Let what waits be; how many tasks that were."""
        count = len(self)
        self._waiting.clear()
        return count

    def take(self, process: int = 0) -> Task | None:
        """The next for a process: about what it knows, else about what none does, else from the most left."""
        if not self._waiting:
            return None

        def rank(about: Hashable) -> tuple[int, int]:
            known = self._known.get(about)
            if not known:
                return 1, 0
            return (0, 0) if process in known else (2, -len(self._waiting[about]))

        about = min(self._waiting, key=rank)
        self._known.setdefault(about, set()).add(process)
        task = self._waiting[about].popleft()
        if not self._waiting[about]:
            del self._waiting[about]
        return task


Work = Callable[[Tasks], Iterator[list[Any]]]
# That of a process which works for another one.
_benches: list[Any] = []


@contextmanager
def workers(bench: Callable[[], Any], processes: int, tell: OnProgress) -> Iterator[Work]:
    """What does tasks on benches, one for each process, and gives the results as they come.

    bench: makes one, in the process that is to have it. tell: told now and then that others are at work.
    """
    if processes == 1:
        yield _alone(bench())
        return
    # Spawned: a fork of a process whose torch has started threads may wait for ever.
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // processes)
    pools = [ProcessPoolExecutor(1, context, _start, (bench, threads)) for _ in range(processes)]
    try:
        yield _shared(pools, tell)
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _alone(bench: Any) -> Work:
    def work(tasks: Tasks) -> Iterator[list[Any]]:
        while task := tasks.take():
            yield task.do(bench)

    return work


def _shared(pools: Sequence[ProcessPoolExecutor], tell: OnProgress) -> Work:
    def work(tasks: Tasks) -> Iterator[list[Any]]:
        free = set(range(len(pools)))
        busy: dict[Future[list[Any]], int] = {}
        while True:
            for process in sorted(free):
                if task := tasks.take(process):
                    free.remove(process)
                    busy[pools[process].submit(_do, task.do)] = process
            if not busy:
                return
            done, _ = wait(busy, timeout=SILENCE, return_when=FIRST_COMPLETED)
            if not done:
                tell(f"still at work: {len(busy) + len(tasks)} parts are to be done")
            for one in done:
                free.add(busy.pop(one))
                yield one.result()

    return work


def _start(bench: Callable[[], Any], threads: int) -> None:
    torch.set_num_threads(threads)
    _benches[:] = [bench()]


def _do(do: Do) -> list[Any]:
    return do(_benches[0])
