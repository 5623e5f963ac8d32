"""Of limits inside other alarms: each goes off when it is due, and none is blamed on the method."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from subjects import images
from torch import Tensor, nn

from xattr_check import load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_check.core.timeout import TimedOut, TimeLimit, counted_time, excused_time, uncounted

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs SIGALRM")


class OuterError(Exception):
    """What a runner of tests raises in a test that takes too long."""


def stop(number: int, frame: Any) -> None:
    raise OuterError


@contextlib.contextmanager
def outer_alarm(
    seconds: float, handler: Callable[[int, Any], None] | signal.Handlers = stop, interval: float = 0
) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)
    kept = signal.setitimer(signal.ITIMER_REAL, seconds, interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *kept)
        signal.signal(signal.SIGALRM, before)


def wait(seconds: float) -> None:
    """Sleep in steps, so that a handler that returns does not matter."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.005)


def test_a_limit_goes_off() -> None:
    with pytest.raises(TimedOut), TimeLimit(0.05):
        wait(5)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_patience_runs_out_once_and_the_method_goes_on() -> None:
    told: list[float] = []
    with TimeLimit(5, 0.02, lambda: told.append(0.0)):
        wait(0.2)
    assert told == [0.0]
    with pytest.raises(TimedOut), TimeLimit(0.05, 0.02, lambda: told.append(1.0)):
        wait(5)
    assert told == [0.0, 1.0]
    with TimeLimit(5, 5, lambda: told.append(2.0)):
        wait(0.01)
    assert told == [0.0, 1.0]


def test_the_earlier_alarm_keeps_what_is_left_of_its_time() -> None:
    with outer_alarm(30, interval=7):
        with TimeLimit(5):
            wait(0.2)
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        assert 29 < left <= 29.81
        assert interval == 7
        assert signal.getsignal(signal.SIGALRM) is stop
        with pytest.raises(TimedOut), TimeLimit(0.05):
            wait(5)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < left


def test_the_earlier_alarm_goes_off_after_the_limit() -> None:
    with outer_alarm(0.2):
        with TimeLimit(5):
            pass
        with pytest.raises(OuterError):
            wait(5)


def test_the_earlier_alarm_goes_off_inside_the_limit_past_what_swallows_errors() -> None:
    with outer_alarm(0.1), pytest.raises(OuterError) as raised, TimeLimit(5):  # noqa: PT012
        with contextlib.suppress(Exception):
            wait(5)
        pytest.fail("it was swallowed")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_an_alarm_that_is_swallowed_goes_off_all_the_same() -> None:
    with outer_alarm(0.1), pytest.raises(OuterError), TimeLimit(5), contextlib.suppress(BaseException):
        wait(5)


def test_an_alarm_that_was_due_meanwhile_goes_off_at_once() -> None:
    with outer_alarm(0.04), pytest.raises(OuterError):  # noqa: PT012
        with contextlib.suppress(TimedOut), TimeLimit(0.02):
            sum(range(10**7))  # one long call of C, after which both are due
        wait(0.2)
        pytest.fail("the alarm was lost")


def test_an_alarm_that_repeats_is_heard_throughout() -> None:
    heard: list[int] = []
    with outer_alarm(0.05, lambda number, _: heard.append(number), interval=0.05):
        with pytest.raises(TimedOut), TimeLimit(0.32):
            wait(5)
        inside = len(heard)
        wait(0.12)
    assert 4 <= inside <= 6
    assert len(heard) > inside


def test_an_ignored_alarm_does_nothing() -> None:
    with outer_alarm(0.05, signal.SIG_IGN):
        with TimeLimit(5):
            wait(0.1)
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN


def test_an_alarm_without_a_handler_ends_the_process() -> None:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with TimeLimit(5):
            wait(2)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGALRM


@pytest.mark.parametrize(("outer", "inner"), [(0.05, 5), (5, 0.05)])
def test_the_shorter_of_two_limits_goes_off(outer: float, inner: float) -> None:
    around, within = TimeLimit(outer), TimeLimit(inner)
    with pytest.raises(TimedOut) as raised, around, within:
        wait(2)
    assert (within.interruption is raised.value) == (outer < inner)
    assert around.interruption is None
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_alarm_around_two_limits() -> None:
    with outer_alarm(0.05), pytest.raises(OuterError), TimeLimit(5), TimeLimit(6):
        wait(5)


def test_other_threads_have_no_limit_and_leave_the_alarm_alone() -> None:
    def work() -> None:
        with TimeLimit(0.02):
            wait(0.1)
        done.append(True)

    done: list[bool] = []
    with outer_alarm(30):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 29
    assert done


@pytest.mark.parametrize("fails", [False, True], ids=["in the call", "in a call of one row"])
def test_the_alarm_of_others_is_not_the_fault_of_the_method(run: Run, fails: bool) -> None:
    def slow(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        if fails and len(inputs) > 1:
            raise ValueError
        with contextlib.suppress(Exception):
            wait(5)
        return inputs

    subject = images()
    explainer = Explainer.of(load_method(slow), subject, run)
    with outer_alarm(0.2), pytest.raises(OuterError):
        explainer(subject.model, subject.inputs[:2], subject.targets[:2])


def test_the_alarm_is_armed_again_after_a_verdict_by_the_method(run: Run) -> None:
    subject = images()
    explainer = Explainer.of(load_method("xattr:gradient"), subject, run)
    with outer_alarm(30):
        explainer(subject.model, subject.inputs[:2], subject.targets[:2])
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 30


def test_what_is_learned_for_all_counts_against_no_method() -> None:
    """Nor does it keep an earlier alarm from going off, or the limit afterwards."""
    heard: list[int] = []
    with outer_alarm(0.03, lambda number, frame: heard.append(number)), TimeLimit(0.1) as limit:
        with uncounted():
            wait(0.2)
        assert heard == [signal.SIGALRM]
        with pytest.raises(TimedOut):
            wait(5)
    assert limit.interruption is None
    with uncounted():
        wait(0.01)


def test_nor_against_a_limit_around_that_of_the_method() -> None:
    """Each of them has what was left of its time, and goes off once."""
    with TimeLimit(0.15) as around:
        with TimeLimit(5) as within:
            with uncounted():
                wait(0.2)
            with uncounted(), uncounted():
                wait(0.05)
        assert within.interruption is None
        with pytest.raises(TimedOut), TimeLimit(5):
            wait(2)
        wait(0.05)
    assert around.interruption is None


def test_a_clock_stands_still_meanwhile() -> None:
    started, before, excused = time.monotonic(), counted_time(), excused_time()
    with uncounted():
        wait(0.02)
        with uncounted():
            wait(0.02)
        wait(0.02)
    passed = excused_time() - excused
    assert 0.06 <= passed <= time.monotonic() - started
    assert counted_time() - before < passed
