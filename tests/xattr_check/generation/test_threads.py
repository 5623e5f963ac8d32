from collections.abc import Iterator

import pytest
import torch

from xattr_check.generation import threads
from xattr_check.generation.threads import AGAIN, Threads


class Clock:
    """Steps take as long as is said of the threads that they are done with."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now, self.looks = seconds, 0.0, 0

    def perf_counter(self) -> float:
        self.looks += 1
        if self.looks % 2 == 0:
            self.now += self.seconds[self.used]
        return self.now

    used = 1


@pytest.fixture(autouse=True)
def _two() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("seconds", "best"), [({1: 1.0, 2: 3.0}, 1), ({1: 3.0, 2: 1.0}, 2)])
def test_what_is_faster_is_used_and_tried_again(
    seconds: dict[int, float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(seconds)
    monkeypatch.setattr(threads, "time", clock)
    made, used = Threads(), []
    for step in range(2 * AGAIN):
        if step == AGAIN:  # now the other one is
            clock.seconds = {1: seconds[2], 2: seconds[1]}
        with made.step():
            clock.used = torch.get_num_threads()
            used.append(clock.used)
        assert torch.get_num_threads() == 2
    assert used[:3] == used[AGAIN : AGAIN + 3] == [2, 2, 1]
    assert set(used[3:AGAIN]) == {best}
    assert set(used[AGAIN + 3 :]) == {3 - best}
    with made.fastest():
        assert torch.get_num_threads() == 3 - best
    assert torch.get_num_threads() == 2


def test_threads_are_put_back_where_a_step_fails() -> None:
    made = Threads()
    for _ in range(2):
        with made.step():
            pass
    with pytest.raises(RuntimeError), made.step():
        torch.zeros(2) @ torch.zeros(3)
    assert torch.get_num_threads() == 2
