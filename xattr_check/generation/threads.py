"""How many threads a loop is fastest with, on a machine that may have other work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Steps after which it is asked again: other work comes and goes.
AGAIN = 40


class Threads:
    """All of torch's threads, or one where that is faster: both are tried, now and then.

    Where another process has one of the cores, threads that wait for each other make a step several times
    slower than one that waits for nobody.
    """

    def __init__(self) -> None:
        self.most = torch.get_num_threads()
        self._seconds: dict[int, float] = {}
        self._steps = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        """What is done within is a step, and is timed; the number of threads is put back."""
        turn = self._steps % AGAIN
        # The first one also pays for what is made once.
        threads = {0: self.most, 1: self.most, 2: 1}.get(turn, self.best)
        self._steps += 1
        started = time.perf_counter()
        with _threads(threads):
            yield
        self._seconds[threads] = time.perf_counter() - started

    @contextmanager
    def fastest(self) -> Iterator[None]:
        """With as many as the last steps were fastest with."""
        with _threads(self.best):
            yield

    @property
    def best(self) -> int:
        """As many as the last steps were fastest with."""
        return min(self._seconds, key=self._seconds.__getitem__, default=self.most)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
