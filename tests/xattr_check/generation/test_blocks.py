from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from features import Alike, ChannelMeans, Filters, fresh, maker, same, small_blocks, toy

from xattr_check.core.run import Run
from xattr_check.generation import blocks, optimisation
from xattr_check.generation.blocks import Made, OutOfTime, block, take
from xattr_check.generation.generator import Maker
from xattr_check.generation.objectives import OBJECTIVES
from xattr_check.generation.optimisation import Block
from xattr_check.generation.prior import Decoders, Pixels
from xattr_check.generation.samples import Samples
from xattr_check.storage.store import StoreWarning


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with small_blocks(4):
        yield


@pytest.fixture(scope="module")
def whole(_small: None, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The samples of a block that nothing disturbs."""
    return take(maker(fresh(tmp_path_factory.mktemp("whole"))), 1).samples


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that are taken, by whichever block."""
    taken: list[int] = []
    advance = Block.advance

    def counted(block: Block) -> None:
        advance(block)
        taken.append(block.step)

    monkeypatch.setattr(Block, "advance", counted)
    return taken


# The same again.


def test_the_seed_alone_decides(whole: Samples, tmp_path: Path) -> None:
    torch.manual_seed(7)  # of no consequence
    same(whole, take(maker(fresh(tmp_path)), 1).samples)
    other = take(maker(fresh(tmp_path), seed=1), 1).samples
    assert not torch.isclose(whole.patches[0, 0], other.patches[0, 0]).all()
    assert not set(whole.draws.tolist()) & set(other.draws.tolist())


def test_blocks_differ_and_add_up(tmp_path: Path, steps: list[int]) -> None:
    one = take(maker(fresh(tmp_path)), 1).samples
    taken = len(steps)
    made = maker(fresh(tmp_path))
    both = take(made, 2)
    assert both.started == 8
    assert both.finished
    assert steps[taken] == 1  # the first block comes from the store
    same(both.samples[: len(one)], one)
    assert not torch.isclose(both.samples.patches[0], both.samples.patches[4]).all()


# Interruptions.


def interrupted(run: Run, made: Maker, at: int) -> None:
    """Generation that is interrupted before a step."""

    def progress(label: str) -> None:
        if f"step {at} of" in label:
            raise KeyboardInterrupt

    run.progress = progress
    with pytest.raises(KeyboardInterrupt):
        take(made, 1)
    run.progress = lambda label: None


@pytest.mark.parametrize("at", [1, 33, 62])
def test_an_interrupted_run_goes_on(
    at: int, whole: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(blocks, "SNAPSHOT", 0.0)
    run = fresh(tmp_path / "store")
    made = maker(run)
    interrupted(run, made, at)
    steps.clear()
    again = take(maker(fresh(tmp_path / "store")), 1).samples
    same(whole, again)
    assert steps == list(range(at + 1, int(whole.steps.max()) + 1))
    assert not list((tmp_path / "store" / "snapshot").rglob("*.safetensors"))


@pytest.mark.parametrize("prior", ["pixels", "decoder"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_snapshot_holds_all_that_matters(
    name: str, prior: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of attempts that began again, and of those that went on."""
    monkeypatch.setattr(optimisation, "FIRST", 4)
    for kind in (Pixels, Decoders):
        monkeypatch.setattr(kind, "attempt", 5)
    made = maker(run, objective=name, prior=prior)
    one = Block(made, 0)
    one.taken[1] = 3
    for step in range(12):
        if step == 3:  # one has begun again; the others are near
            monkeypatch.setattr(Block, "_near", lambda block, rows: torch.ones(len(rows), dtype=torch.bool))
        one.advance()
    assert one.attempt.tolist() == [0, 1, 0, 0]
    assert one.longer.tolist() == [2, 2, 2, 2]
    run.store.write("snapshot", {"some": "key"}, one.state())
    saved = run.store.read("snapshot", {"some": "key"})
    assert saved is not None
    two = Block(made, 0)
    two.load(saved)
    for _ in range(9):
        one.advance()
        two.advance()
    first, second = one.state(), two.state()
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=0, atol=0, equal_nan=True, msg=key)


def test_the_store_holds_all_that_a_block_came_to(run: Run, steps: list[int]) -> None:
    made = maker(run, toy(Alike()), steps=40)
    one = block(made, 0)
    again = block(maker(run, toy(Alike()), steps=40), 0)
    assert len(steps) == one.steps == again.steps == 40
    assert torch.equal(one.misses, again.misses)
    assert one.misses.shape == (4, 6)
    same(one.samples, again.samples)


def test_an_interruption_at_the_very_end_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(blocks, "SNAPSHOT", 0.0)

    def killed(block: Block) -> Samples:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Block, "samples", killed)
        with pytest.raises(KeyboardInterrupt):
            take(maker(fresh(tmp_path)), 1)
    taken = len(steps)
    assert len(take(maker(fresh(tmp_path)), 1).samples) == 4
    assert len(steps) == taken


OTHERS: dict[str, dict[str, Any]] = {
    "model": {"subject": toy(ChannelMeans(41.0))},
    "range": {"subject": replace(toy(), inputs=1.5 * toy().inputs)},
    "size": {"subject": toy(size=(12, 13))},
    "reference of its own": {"subject": replace(toy(), reference=lambda n, _: torch.zeros(n, 3, 12, 12))},
    "reference": {"reference": "noise"},
    "scenario": {"name": "null"},
    "side": {"side": 4},
    "objective": {"objective": "dynamic"},
    "prior": {"prior": "decoder"},
    "placement": {"fixed": False},
    "steps": {"steps": 3},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("other", OTHERS)
def test_nothing_of_another_model_or_plan_is_used(
    other: str, run: Run, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    """Neither blocks nor snapshots."""
    monkeypatch.setattr(blocks, "SNAPSHOT", 0.0)
    made = maker(run, steps=2)
    take(made, 1)
    with pytest.raises(OutOfTime):
        block(made, 1, deadline=0.0)
    assert steps == [1, 2, 1]
    steps.clear()
    made = maker(run, **{"steps": 2, **OTHERS[other]})
    for number in (0, 1):
        with pytest.raises(OutOfTime):
            block(made, number, deadline=0.0)
    assert steps == [1, 1]


def test_inputs_that_serve_as_references_are_part_of_the_key(run: Run) -> None:
    keys = []
    for inputs in (toy().inputs, toy().inputs.flip(3)):  # of the same range
        subject = replace(toy(), inputs=inputs)
        keys += [maker(run, subject, reference=kind).key for kind in ("inputs", "subject")]
    assert keys[0] != keys[2]
    assert keys[1] == keys[3]


def test_a_damaged_snapshot_is_dropped(
    whole: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(blocks, "SNAPSHOT", 0.0)
    run = fresh(tmp_path / "store")
    made = maker(run)
    interrupted(run, made, 30)
    (path,) = (tmp_path / "store" / "snapshot").rglob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    steps.clear()
    with pytest.warns(StoreWarning, match="it is dropped and computed again"):
        again = take(made, 1).samples
    assert steps[0] == 1
    same(whole, again)


# Time.


class Clock:
    """A second for each look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def test_out_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    subject = toy(Filters(3))
    whole = take(maker(fresh(tmp_path / "whole"), subject, "single"), 1).samples
    steps.clear()
    made = maker(fresh(tmp_path / "store"), subject, "single")
    monkeypatch.setattr(blocks, "time", Clock())
    # It foresees that the first certificates, after 20 steps, will not be reached in 15 seconds.
    short = take(made, 1, seconds=15)
    assert (short.finished, short.steps, short.started, len(short.samples)) == (False, 2, 4, 0)
    assert short.misses.shape == (4, 2)
    assert steps == [1, 2]
    # From there they are, but not the last ones.
    at = sorted(whole.steps.tolist())
    assert at[0] < at[-1] - 15
    longer = take(made, 3, seconds=at[-1] - 15)
    assert not longer.finished
    assert longer.started == 4
    assert 1 <= len(longer.samples) < 4
    assert len(longer.misses) == 4 - len(longer.samples)
    assert at[0] <= longer.steps < at[-1]
    assert steps == list(range(1, longer.steps + 1))
    rest = take(made, 1)
    assert rest.finished
    assert steps == list(range(1, at[-1] + 1))
    same(rest.samples, whole)
    assert rest.steps == at[-1]
    assert len(rest.misses) == 0


@pytest.fixture
def ten_seconds(whole: Samples, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples each block comes to, of four, in ten seconds a block."""
    yields: list[int] = []
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(blocks, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def came_to(maker: Maker, number: int, deadline: float) -> Made:
        clock.now += 10
        count = yields[number]
        return Made(whole[:count], torch.full((4 - count, 6), float(number)), 100 + number, 10.0)

    monkeypatch.setattr(blocks, "block", came_to)
    return yields


@pytest.mark.parametrize(
    ("begin", "count"), [(0.0, 1), (19.0, 1), (20.0, 2), (39.0, 3), (40.0, 4), (45.0, 4), (50.0, 5), (1e9, 6)]
)
def test_no_block_is_begun_that_would_not_be_done_in_time(
    begin: float, count: int, run: Run, ten_seconds: list[int]
) -> None:
    """By what those before it took; the first one always is."""
    ten_seconds[:] = [3, 0, 4, 2, 1, 2]
    found = take(maker(run), 6, begin=begin)
    assert (found.started, found.seconds, found.finished) == (4 * count, 10 * count, True)
    assert len(found.samples) == sum(ten_seconds[:count])
    missing = [number for number in range(count) for _ in range(4 - ten_seconds[number])]
    assert found.misses[:, 0].tolist() == missing
    assert found.steps == 99 + count


@pytest.mark.parametrize(
    ("enough", "count"), [((1, 1), 1), ((1, 4), 3), ((2, 1), 2), ((4, 7), 4), ((4, 8), 4), ((1, 99), 6)]
)
def test_no_block_is_begun_once_there_are_enough(
    enough: tuple[int, int], count: int, run: Run, ten_seconds: list[int]
) -> None:
    ten_seconds[:] = [3, 0, 4, 2, 1, 2]
    found = take(maker(run), 6, enough=enough)
    assert (found.started, found.finished) == (4 * count, True)
    assert len(found.samples) == sum(ten_seconds[:count])


def test_what_is_from_the_store_counts_as_what_it_took(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether another block is begun does not hang on who made those before it."""
    made = maker(run)
    take(made, 1)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(blocks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    spent = block(made, 0).seconds
    assert spent > 0
    assert take(made, 2, begin=1.5 * spent).started == 4


def test_what_is_in_the_store_is_there_however_long_it_took(run: Run) -> None:
    made = maker(run)
    whole = take(made, 2).samples
    found = take(made, 3, begin=0.0)
    assert found.started == 8
    same(found.samples, whole)


def test_what_an_interrupted_block_took_is_all_that_it_took(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second for each look at the clock, of which there is one before the steps and one after each."""
    clock = SimpleNamespace(now=0.0)

    def tick() -> float:
        clock.now += 1
        return clock.now

    monkeypatch.setattr(blocks, "time", SimpleNamespace(monotonic=tick))
    made = maker(run)
    with pytest.raises(OutOfTime):
        block(made, 0, deadline=4.0)
    found = block(made, 0)
    assert found.seconds == found.steps


def test_nothing_is_begun_after_a_first_block_that_came_to_none(run: Run, ten_seconds: list[int]) -> None:
    ten_seconds[:] = [0, 4]
    found = take(maker(run), 2)
    assert (found.started, len(found.samples), found.finished) == (4, 0, True)
    assert len(found.misses) == 4


def test_progress(run: Run) -> None:
    told: list[str] = []
    watched: list[tuple[int, int, int]] = []
    run.progress = told.append
    made = maker(run)
    block(made, 0, lambda *state: watched.append(state))
    samples = take(made, 1).samples
    waiting = "double features, block 1: waiting for the store"
    assert told[:2] == [waiting, "double features, block 1: step 0 of at most 200, 0 of 4 samples certified"]
    assert told.pop() == waiting  # the second time it is there
    last = int(samples.steps.max()) - 1
    done = int((samples.steps <= last).sum())
    assert told[-1] == f"double features, block 1: step {last} of at most 200, {done} of 4 samples certified"
    assert watched[0] == (0, 0, 0)
    assert watched[-1] == (0, last, done)


def test_what_the_first_step_takes_is_not_foreseen_of_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    clock, advance = SimpleNamespace(now=0.0), Block.advance

    def advancing(work: Block) -> None:
        clock.now += 0.01 if work.step else 5.0
        advance(work)

    monkeypatch.setattr(Block, "advance", advancing)
    monkeypatch.setattr(blocks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    assert take(maker(run, toy(Filters(3)), "single"), 1, seconds=10).steps > 2
