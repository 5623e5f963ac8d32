"""Work on as many inputs at once as fit the memory of a device."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from xattr_check.core.devices import release_memory

T = TypeVar("T")


class Chunks:
    """How many inputs are worked on at once: `size`, and half of those that the device could not take.

    Where it runs out of memory, the work goes on with what is not done yet, in smaller chunks from then on.
    torch.OutOfMemoryError is raised where a single row does not fit.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def over(self, work: Callable[[slice], T], rows: int, each: int = 1) -> Iterator[tuple[slice, T]]:
        """Slices that cover 0…rows − 1 in their order, and what work makes of them.

        each: how many inputs the work takes for one row.
        """
        blocks = self.over_pairs(lambda some, _: work(some), rows, 1, each)
        return ((some, found) for some, _, found in blocks)

    def over_pairs(
        self, work: Callable[[slice, slice], T], rows: int, numbers: int, each: int = 1
    ) -> Iterator[tuple[slice, slice, T]]:
        """Slices of rows and of numbers that cover all pairs of them, and what work makes of them.

        The blocks of one row follow each other, with its numbers in their order.
        """
        pending = [(slice(0, rows), 0)] if rows and numbers else []
        while pending:
            some, start = pending.pop()
            count, fitting = some.stop - some.start, max(1, self.size // each)
            if count > fitting:
                firsts = range(some.start, some.stop, fitting)
                pending += [(slice(one, min(one + fitting, some.stop)), start) for one in reversed(firsts)]
                continue
            part = slice(start, min(numbers, start + fitting // count))
            tried = count * (part.stop - start)
            try:
                found = work(some, part)
            except torch.OutOfMemoryError:
                if tried == 1:
                    raise
            else:
                yield some, part, found
                if part.stop < numbers:
                    pending.append((some, part.stop))
                continue
            # Not in the handler, where the exception still holds the frames of the work, and their tensors.
            release_memory()
            self.size = tried * each // 2
            pending.append((some, start))
