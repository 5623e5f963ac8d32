"""A limit on the time that a method may take."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# So soon goes off what is overdue: a timer of zero seconds would be none.
AT_ONCE = 1e-6


class TimedOut(BaseException):
    """Raised inside a method that takes too long; not an Exception, so that no method swallows it."""


class _Interrupted(BaseException):
    """Carries what an earlier alarm raises through the method, which might swallow an Exception."""


class TimeLimit:
    """Raises TimedOut after so many seconds, where signals allow it: on POSIX, in the main thread.

    There is one alarm in a process, and somebody may have set it before, such as a runner of tests with a
    limit of its own. It still goes off when it is due: during the limit, with the handler that was set for
    it, and after the limit, on a timer with what is left. A limit inside another one is no exception.

    patience, tell: after so many seconds that is called, once, while the method goes on.
    interruption: what the earlier alarm raised during the limit; it says nothing about the method.
    """

    def __init__(
        self, seconds: float, patience: float = math.inf, tell: Callable[[], None] | None = None
    ) -> None:
        self.seconds = seconds
        self.patience, self._tell = patience, tell
        self.interruption: BaseException | None = None
        self._active = False
        self._outer_due: float | None = None
        self._outer_interval = 0.0
        self._outer: Any = None

    def __enter__(self) -> "TimeLimit":
        if not _can_be_set():
            return self
        now = time.monotonic()
        left, self._outer_interval = signal.setitimer(signal.ITIMER_REAL, 0)
        self._outer_due = now + left if left else None
        self._outer = signal.signal(signal.SIGALRM, self._go_off)
        self._due, self._active = now + self.seconds, True
        _limits.append(self)
        self._late = now + self.patience if self._tell else math.inf
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._active = False
            _limits.remove(self)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._outer)
            self._arm_outer()
        if self.interruption is not None:
            raise self.interruption from self.interruption.__cause__

    def _arm(self) -> None:
        """Set the alarm to whichever is due first."""
        due = min(self._due, self._late, math.inf if self._outer_due is None else self._outer_due)
        signal.setitimer(signal.ITIMER_REAL, 0 if due == math.inf else max(due - time.monotonic(), AT_ONCE))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """A scope in which it does not run; an earlier alarm does."""
        started, due, late = time.monotonic(), self._due, self._late
        self._due = self._late = math.inf
        self._arm()
        try:
            yield
        finally:
            passed = time.monotonic() - started
            self._due, self._late = due + passed, late + passed
            self._arm()

    def _arm_outer(self) -> None:
        if self._outer_due is not None:
            left = max(self._outer_due - time.monotonic(), AT_ONCE)
            signal.setitimer(signal.ITIMER_REAL, left, self._outer_interval)

    def _go_off(self, number: int, frame: FrameType | None) -> None:
        if not self._active:
            return
        now = time.monotonic()
        if self._outer_due is not None and self._outer_due <= min(now, self._due):
            self._outer_due = now + self._outer_interval if self._outer_interval else None
            self._call_outer(number, frame)
        elif now >= self._due:
            raise TimedOut
        elif now >= self._late and self._tell is not None:
            self._late = math.inf
            self._tell()
        self._arm()

    def _call_outer(self, number: int, frame: FrameType | None) -> None:
        """What the earlier alarm does: the system's own action where it has no handler."""
        if self._outer is signal.SIG_DFL:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGALRM)
        elif callable(self._outer):
            try:
                self._outer(number, frame)
            except _Interrupted:
                raise
            except BaseException as error:
                self.interruption = error
            if self.interruption is not None:
                raise _Interrupted


# Those that run, the innermost last.
_limits: list[TimeLimit] = []


@contextmanager
def uncounted() -> Iterator[None]:
    """A scope that counts against no method: what is learned once for all who ask for it."""
    if not _limits:
        yield
        return
    with _limits[-1].stopped():
        yield


def _can_be_set() -> bool:
    """Whether there is an alarm here, and a handler that can be put back: one of C's reads as None."""
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is not None
    )
