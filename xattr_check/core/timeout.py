"""A limit on the time that a method may take."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class TimedOut(BaseException):
    """Raised inside a method that takes too long; not an Exception, so that no method swallows it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimedOut after so many seconds, where signals allow it: on POSIX, in the main thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def alarm(number: int, frame: Any) -> None:
        raise TimedOut

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
