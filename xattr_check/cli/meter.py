"""How far a generation has come: in place on a terminal, a line now and then elsewhere."""

import math
import time
from typing import TextIO

from tqdm import tqdm

from xattr_check.generation.optimisation import BLOCK
from xattr_check.wording import duration

# Seconds between two reports, where lines stay and where they do not.
LINES, IN_PLACE = 10.0, 0.2
# Steps after which, or seconds after one step, the time that is left is foreseen.
PATIENCE = 5


class Meter:
    """Told of every step (as `blocks.Watch`) and of every finished block, it says how far work is.

    wanted: samples; blocks, steps: that may be taken at most. seconds: that the finished blocks took.
    """

    def __init__(self, wanted: int, blocks: int, steps: int, stream: TextIO) -> None:
        self.wanted, self.blocks, self.steps, self.stream = wanted, blocks, steps, stream
        self.certified = self._fresh = self._taken = 0
        self.seconds = 0.0
        self._finished: list[tuple[int, int]] = []
        self._began = self._shown = time.monotonic()
        self._spent, self._last = 0.0, (-1, 0, self._began)
        self._resumed = False
        self._bar = tqdm(
            total=wanted,
            file=stream,
            disable=not stream.isatty(),
            bar_format="{n_fmt} of {total_fmt} certified |{bar}| {desc}",
            dynamic_ncols=True,
            leave=False,
        )

    @property
    def blocks_done(self) -> int:
        """Blocks that are finished, those from the store included."""
        return len(self._finished)

    @property
    def whole(self) -> bool:
        """Whether all blocks were made from their first step while it watched: none was in the store."""
        return not self._resumed and self._fresh == len(self._finished)

    def __call__(self, block: int, step: int, certified: int) -> None:
        """A block is about to take a step, and has so many certified samples."""
        now = time.monotonic()
        last_block, last_step, last_time = self._last
        if block == last_block:
            self._taken += step - last_step
            self._spent += now - last_time
        else:
            self._fresh += 1
            self._resumed = self._resumed or step > 0
        self._last = block, step, now
        if now - self._shown >= (LINES if self._bar.disable else IN_PLACE):
            self._shown = now
            self._show(step, certified)

    def finish_block(self, certified: int, steps: int) -> None:
        """A block is done after so many steps, or was in the store."""
        self.certified += certified
        self.seconds = time.monotonic() - self._began
        self._finished.append((steps, certified))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        tqdm.write(text, file=self.stream)

    def close(self) -> None:
        """Take away what stands on the line."""
        self._bar.close()

    def _show(self, step: int, certified: int) -> None:
        total = self.certified + certified
        text = (
            f"step {step} of {self.steps}, {duration(self._shown - self._began)}{self._rest(step, certified)}"
        )
        if self._bar.disable:
            started = (len(self._finished) + 1) * BLOCK
            print(
                f"{total} certified of {self.wanted} wanted, {started} started; {text}",
                file=self.stream,
                flush=True,
            )
        else:
            self._bar.n = min(total, self.wanted)
            self._bar.set_description_str(text)

    def _rest(self, step: int, certified: int) -> str:
        """What there is still to do; a bound for the block at work while there is no other to go by."""
        if not self._taken or (self._taken < PATIENCE and self._spent < PATIENCE):
            return ""
        each = self._spent / self._taken
        if not self._finished:
            return f", at most {duration((self.steps - step) * each)} more for these {BLOCK}"
        blocks = len(self._finished)
        usual = sum(steps for steps, _ in self._finished) / blocks
        gained = sum(count for _, count in self._finished) / blocks
        missing = max(0.0, self.wanted - self.certified - max(certified, gained))
        ahead = min(self.blocks - blocks - 1, math.ceil(missing / gained) if gained else self.blocks)
        here = usual - step if step < usual else self.steps - step
        return f", about {duration((here + ahead * usual) * each)} more"
