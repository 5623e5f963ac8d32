"""Blocks of samples, kept in the store, resumed where interrupted, and stopped when the time is over."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from operator import ge

import torch
from torch import Tensor

from xattr_check.generation.exchange import Exchange
from xattr_check.generation.generator import Maker
from xattr_check.generation.optimisation import BLOCK, Block
from xattr_check.generation.samples import Samples
from xattr_check.storage.store import Tensors

# Part of every key: samples of another version are never read.
VERSION = 11
# Steps after which a block's time is foreseen, and those it takes until it is worth something, by the name of
# the prior.
PATIENCE = 2
LIKELY = {"pixels": 100, "decoder": 100, "words": 40}
# How samples are worked at, by the name of their prior.
KINDS: dict[str, type[Block]] = {"pixels": Block, "decoder": Block, "words": Exchange}
# Seconds between two snapshots of a block at work: what an interruption loses.
SNAPSHOT = 20.0
# Told before every step: the number of the block, the step, how many of its samples are certified.
Watch = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Made:
    """What a block came to: its certified samples, and how near the others came.

    misses: (m, M + J), see `Block.misses`. steps, seconds: that it took.
    """

    samples: Samples
    misses: Tensor
    steps: int
    seconds: float = 0.0


class OutOfTime(Exception):
    """The time for generation is over; carries what the block at work came to, and seconds a step."""

    def __init__(self, made: Made, pace: float) -> None:
        super().__init__()
        self.made, self.pace = made, pace


@dataclass(frozen=True)
class Yield:
    """What a generation came to: samples, of how many started, in how many seconds.

    misses: (m, M + J) of those that have none, see `Block.misses`. steps: that the last block took.
    finished: whether it came to its end; not where the time was over, and then pace is what a step took, in
    seconds.
    """

    samples: Samples
    misses: Tensor
    started: int
    seconds: float
    steps: int
    finished: bool = True
    pace: float = math.nan


def block(maker: Maker, number: int, watch: Watch | None = None, deadline: float = math.inf) -> Made:
    """The certified samples of a block of BLOCK started ones, from the store where they are.

    deadline: time.monotonic() after which OutOfTime is raised; the next call goes on from a snapshot.
    """
    key, store = _key(maker, number), maker.run.store
    # What a process stays at while another one makes the same.
    maker.run.progress(f"{maker.plan.scenario.name} features, block {number + 1}: waiting for the store")

    def optimise() -> Tensors:
        work = _optimised(KINDS[maker.plan.prior](maker, number), key, watch, deadline)
        steps, seconds = torch.tensor(work.step), torch.tensor(work.seconds)
        about = {"misses": work.misses(), "taken": steps, "seconds": seconds}
        return {**work.samples().tensors(), **about}

    found = store.fetch("generated", key, optimise)
    store.remove("snapshot", key)  # not before the samples are stored
    return Made(Samples.of(found), found["misses"], int(found["taken"]), float(found["seconds"]))


def stored(maker: Maker, blocks: int) -> int:
    """How many of the first so many blocks are in the store, up to the first one that is not."""
    return sum(takewhile(bool, (_is_stored(maker, number) for number in range(blocks))))


def _is_stored(maker: Maker, number: int) -> bool:
    return maker.run.store.read("generated", _key(maker, number)) is not None


def take(
    maker: Maker,
    blocks: int,
    seconds: float = math.inf,
    begin: float = math.inf,
    enough: tuple[int, int] | None = None,
) -> Yield:
    """The samples of so many blocks, or of fewer where the time is over or the first one came to none.

    seconds: after which what is certified so far is returned; the next call goes on from there.
    begin: seconds in which a block after the first has to be done, by what those before it took, to be begun;
        one that is in the store is there.
    enough: blocks and samples after which no other is begun.
    """
    started, finished = time.monotonic(), True
    parts: list[Made] = []
    pace = math.nan
    for number in range(blocks):
        there = number, sum(len(part.samples) for part in parts)
        if number and not len(parts[0].samples):
            break
        if enough is not None and all(map(ge, there, enough)):
            break
        spent = sum(part.seconds for part in parts)
        if number and spent + spent / number > begin and not _is_stored(maker, number):
            break
        try:
            parts.append(block(maker, number, deadline=started + seconds))
        except OutOfTime as over:
            parts.append(over.made)
            pace, finished = over.pace, False
            break
    return Yield(
        samples=Samples.joined([part.samples for part in parts]),
        misses=torch.cat([part.misses for part in parts]),
        started=len(parts) * BLOCK,
        seconds=time.monotonic() - started,
        steps=parts[-1].steps,
        finished=finished,
        pace=pace,
    )


def _key(maker: Maker, number: int) -> dict[str, object]:
    return {**maker.key, "version": VERSION, "block": BLOCK, "number": number}


def _optimised(work: Block, key: dict[str, object], watch: Watch | None, deadline: float) -> Block:
    plan, run = work.plan, work.maker.run
    saved = run.store.read("snapshot", key)
    if saved is not None:
        work.load(saved)
    began = latest = since = time.monotonic()
    first = work.step
    while not work.finished:
        done = int((work.certified > 0).sum())
        run.progress(
            f"{plan.scenario.name} features, block {work.number + 1}: step {work.step} of at most "
            f"{plan.steps}, {done} of {BLOCK} samples certified"
        )
        if watch is not None:
            watch(work.number, work.step, done)
        work.advance()
        now, taken = time.monotonic(), work.step - first
        work.seconds, since = work.seconds + now - since, now
        # Not even a few certificates would be reached in time: better said now than at the end.
        pace = (now - began) / max(1, taken - 1)
        ahead = pace * max(0, LIKELY[plan.prior] - work.step)
        over = now > deadline or (taken >= PATIENCE and now + ahead > deadline)
        over &= not work.finished
        if now - latest > SNAPSHOT or over:
            run.store.write("snapshot", key, work.state())
            latest = now
        if over:
            raise OutOfTime(Made(work.samples(), work.misses(), work.step), pace)
        if taken == 1:  # which also paid for what is made once, and says little of the others
            began = now
    return work
