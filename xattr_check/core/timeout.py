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
        self._around: TimeLimit | None = None

    def __enter__(self) -> "TimeLimit":
        if not _can_be_set():
            return self
        now = time.monotonic()
        left, self._outer_interval = signal.setitimer(signal.ITIMER_REAL, 0)
        self._outer_due = now + left if left else None
        self._outer = signal.signal(signal.SIGALRM, self._go_off)
        # Asked when it is due, since that may change meanwhile.
        self._around = _limits[-1] if _limits and self._outer == _limits[-1]._go_off else None
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

    def _first_due(self) -> float:
        """When the first of all goes off."""
        return min(self._due, self._late, self._outer_first_due())

    def _outer_first_due(self) -> float:
        """When the earlier alarm goes off, or the first of those around it."""
        if self._around is not None:
            return self._around._first_due()
        return math.inf if self._outer_due is None else self._outer_due

    def _arm(self) -> None:
        """Set the alarm to whichever is due first."""
        due = self._first_due()
        signal.setitimer(signal.ITIMER_REAL, 0 if due == math.inf else max(due - time.monotonic(), AT_ONCE))

    def _arm_outer(self) -> None:
        if self._around is not None:
            self._around._arm()
        elif self._outer_due is not None:
            left = max(self._outer_due - time.monotonic(), AT_ONCE)
            signal.setitimer(signal.ITIMER_REAL, left, self._outer_interval)

    def _go_off(self, number: int, frame: FrameType | None) -> None:
        if not self._active:
            return
        now = time.monotonic()
        if self._outer_first_due() <= min(now, self._due):
            self._outer_due = now + self._outer_interval if self._outer_interval else None
            self._call_outer(number, frame)
        elif now >= self._due:
            self._due = math.inf  # once, also where a limit inside this one arms it again
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


class _Excused(threading.local):
    """Seconds of a thread that counted against no method."""

    seconds = 0.0


_excused = _Excused()


def counted_time() -> float:
    """Seconds on a clock that stands still in the scopes of `uncounted`."""
    return time.monotonic() - _excused.seconds


def excused_time() -> float:
    """Seconds that this thread has spent in the scopes of `uncounted`."""
    return _excused.seconds


@contextmanager
def uncounted() -> Iterator[None]:
    """A scope that counts against no method: what is learned once for all who ask for it.

    No limit runs in it, and an earlier alarm does.
    """
    started, before = time.monotonic(), _excused.seconds
    stopped = [(limit, limit._due, limit._late) for limit in _limits]
    for limit in _limits:
        limit._due = limit._late = math.inf
    _arm_innermost()
    try:
        yield
    finally:
        passed = time.monotonic() - started
        _excused.seconds = before + passed
        for limit, due, late in stopped:
            limit._due, limit._late = due + passed, late + passed
        _arm_innermost()


def _arm_innermost() -> None:
    if _limits:
        _limits[-1]._arm()


def _can_be_set() -> bool:
    """Whether there is an alarm here, and a handler that can be put back: one of C's reads as None."""
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is not None
    )
