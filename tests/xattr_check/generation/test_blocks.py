import math
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from features import Bent, ChannelMeans, Filters, Flat, toy
from torch import Tensor

from xattr_check import Store, Subject
from xattr_check.core.run import Run
from xattr_check.core.state import ModelState
from xattr_check.generation import blocks
from xattr_check.generation.blocks import Block, OutOfTime, block, take
from xattr_check.generation.certify import Certificate
from xattr_check.generation.generator import Maker, compose_images
from xattr_check.generation.objectives import OBJECTIVES
from xattr_check.generation.plan import Plan
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import scenario
from xattr_check.storage.store import StoreWarning

STEPS = 200


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """Blocks of a few samples, certified early."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "BLOCK": 4,
            "FIRST": 20,
            "EVERY": 20,
            "LIKELY": 20,
            "SCREENS": ((4, 0.8), (8, 0.8)),
        }.items():
            patch.setattr(blocks, name, value)
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


def maker(
    run: Run,
    subject: Subject | None = None,
    name: str = "double",
    features: int | None = None,
    **options: Any,
) -> Maker:
    subject = toy() if subject is None else subject
    options = {"steps": STEPS, **options}
    return Maker(subject, Plan.of(subject, scenario(name, features), **options), run)


def fresh(folder: Path, **options: Any) -> Run:
    return Run(store=Store(folder), **options)


def same(one: Samples, other: Samples) -> None:
    for (name, tensor), value in zip(one.tensors().items(), other.tensors().values(), strict=True):
        assert torch.equal(tensor, value), name


# Samples.


def brute_force(made: Maker, samples: Samples, seeds: Tensor, count: int) -> Certificate:
    """Certificates by pasting with slices, one image at a time, in float64."""
    kind, model, side = made.plan.scenario, made.subject.model, made.plan.side
    rows = []
    for sample, seed in enumerate(seeds.tolist()):
        generator = torch.Generator().manual_seed(seed)
        references = made.references(count, generator)
        if made.plan.fixed:  # all draws of a sample share the upper bits of their seeds
            own = torch.Generator().manual_seed(seed >> 32)
            places = made.plan.place(1, made.geometry, own).repeat(count, 1, 1)
        else:
            places = made.plan.place(count, made.geometry, generator)
        classes = samples.classes[sample].tolist()
        table: list[list[Tensor]] = []
        for draw in range(count):
            table.append([])
            for coalition in range(kind.coalitions):
                image = references[draw].clone()
                for feature in range(kind.features):
                    if coalition >> feature & 1:
                        top, left = places[draw, feature].tolist()
                        image[:, top : top + side, left : left + side] = samples.patches[sample, feature]
                with torch.no_grad():
                    table[-1].append(model(image[None])[0].double())
        logits = torch.stack([torch.stack(one) for one in table])
        effects = torch.stack([
            logits[:, 1 << feature, classes[number]] - logits[:, 0, classes[number]]
            for feature, number in enumerate(kind.makes)
        ], 1)  # fmt: skip
        unit = effects[:, list(kind.contributing)].amin(1)
        changes = torch.stack([
            (logits[:, one.larger, classes[one.output]] - logits[:, one.smaller, classes[one.output]]).abs()
            / unit
            for one in kind.changes
        ], 1)  # fmt: skip
        softmax = torch.stack([
            logits[:, 1 << feature].softmax(1)[:, classes[number]].amin()
            for feature, number in enumerate(kind.makes)
        ])  # fmt: skip
        whole = logits[:, -1, classes[0]] - logits[:, 0, classes[0]]
        reach = (effects / whole[:, None]).quantile(0.5, 0)
        ordered = changes.sort(0).values
        rows.append([
            unit.quantile(0.5),
            ordered[math.ceil((count - 1) / 2)],
            ordered[math.ceil(0.9 * (count - 1))],
            softmax,
            reach if kind.saturating else torch.ones(kind.features),
        ])  # fmt: skip
    return Certificate(*(torch.stack(column) for column in zip(*rows, strict=True)))


class Overwriting(ChannelMeans):
    """Works in place on what it is given."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.mul_(1.0))


CASES = {
    "null": {},
    "double": {},
    "single": {},
    "saturation": {"subject": toy(Bent(200))},
    "null of three": {"subject": toy(ChannelMeans(100)), "name": "null", "features": 3},
    "saturation of three": {"subject": toy(Bent(200)), "name": "saturation", "features": 3},
    "one channel, not square": {"subject": toy(Filters(1), 1, (16, 24)), "name": "null"},
    "four channels, upright": {"subject": toy(ChannelMeans(100), 4, (24, 10)), "name": "double"},
    "in place": {"subject": toy(Filters(3, inplace=True)), "name": "single"},
    "overwriting": {"subject": toy(Overwriting(100.0)), "name": "single"},
    "fixed": {"subject": toy(Flat()), "name": "null", "fixed": True},
    "inputs": {"reference": "inputs"},
    "noise": {"subject": toy(ChannelMeans(100)), "reference": "noise"},
}


def check_images(made: Maker, samples: Samples) -> None:
    """Every image that is shown agrees with slices."""
    found, side, kind = compose_images(made, samples), made.plan.side, made.plan.scenario
    letters, classes = "abcd"[: kind.features], "abcd"[: kind.classes]
    assert found.keys() == {
        "composite", "reference",
        *(f"only_{letter}" for letter in letters), *(f"mask_{letter}" for letter in letters),
        *(f"target_{letter}" for letter in classes),
    }  # fmt: skip
    for row in range(len(samples)):
        reference = found["reference"][row]
        composite = reference.clone()
        for feature, letter in enumerate(letters):
            inside = found[f"mask_{letter}"][row, 0]
            top, left = inside.nonzero()[0].tolist()
            only, mask = reference.clone(), torch.zeros_like(inside)
            mask[top : top + side, left : left + side] = True
            for image in (composite, only):
                image[:, top : top + side, left : left + side] = samples.patches[row, feature]
            assert torch.equal(inside, mask)
            assert torch.equal(found[f"only_{letter}"][row], only)
        assert torch.equal(found["composite"][row], composite)
    for number, letter in enumerate(classes):
        assert torch.equal(found[f"target_{letter}"], samples.classes[:, number])
    for feature, number in enumerate(kind.makes):
        chosen = made.subject.model(found[f"only_{letters[feature]}"]).argmax(1)
        assert torch.equal(chosen, samples.classes[:, number])


@pytest.mark.parametrize("case", CASES)
def test_certified_samples_hold_by_brute_force(case: str, run: Run) -> None:
    options = CASES[case]
    made = maker(
        run, **{"name": case if case in ("null", "double", "single", "saturation") else "null", **options}
    )
    samples = take(made, 1).samples
    kind, side = made.plan.scenario, made.plan.side
    assert len(samples) >= 1
    assert samples.patches.shape[1:] == (kind.features, *made.layout.window_shape(side))
    assert samples.classes.shape[1] == kind.classes
    assert all(len(set(row)) == kind.classes for row in samples.classes.tolist())
    assert samples.patches.min() >= made.low.min() - 1e-3
    assert samples.patches.max() <= made.high.max() + 1e-3
    assert samples.certificate.holds.all()
    assert samples.certificate.median.shape == (len(samples), len(kind.changes))
    again = brute_force(made, samples, samples.draws, blocks.DRAWS)
    on_composite = brute_force(made, samples, samples.composite, 1)
    for one in fields(Certificate):
        expected = getattr(again, one.name).float()
        torch.testing.assert_close(getattr(samples.certificate, one.name), expected, rtol=1e-3, atol=1e-4)
    assert on_composite.within(1.001).all()
    # Neither is it luck: on draws that had no part in anything, most hold again.
    other = brute_force(made, samples, samples.draws + 1, 8)
    assert other.median.le(0.1).all()
    assert other.softmax.ge(0.9).all()
    check_images(made, samples)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype, run: Run) -> None:
    subject = replace(toy(), inputs=toy().inputs.to(dtype), model=Filters(3).to(dtype))
    made = maker(run, subject, "single")
    samples = take(made, 1).samples
    assert len(samples) >= 1
    assert samples.certificate.effect.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert compose_images(made, samples)["composite"].dtype == dtype


def test_every_draw_is_fresh(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither steps, nor screens, nor certificates share any; the last have chosen nothing."""
    used: list[tuple[int, int]] = []
    draw = Maker.draw

    def noted(made: Maker, seeds: Tensor, count: int) -> tuple[Tensor, Tensor]:
        used.extend((seed, count) for seed in seeds.tolist())
        return draw(made, seeds, count)

    monkeypatch.setattr(Maker, "draw", noted)
    block = Block(maker(run), 0)
    while not block.finished:
        block.advance()
    assert len(used) == len(set(used)) == len({seed for seed, _ in used})
    assert {count for _, count in used} == {
        blocks.DRAWS_A_STEP,
        *(draws for draws, _ in blocks.SCREENS),
        blocks.DRAWS,
        1,
    }
    assert {(seed, blocks.DRAWS) for seed in block.draws.tolist()} <= set(used)
    assert {(seed, 1) for seed in block.composite.tolist()} <= set(used)


def test_a_composite_keeps_the_certificate_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are tried where it does not."""
    certify = Maker.certify

    def fussy(made: Maker, patches: Tensor, classes: Tensor, seeds: Tensor, *count: int) -> Certificate:
        found = certify(made, patches, classes, seeds, *count)
        if count == (1,):
            found.median[seeds % 3 > 0] = torch.inf
        return found

    monkeypatch.setattr(Maker, "certify", fussy)
    samples = take(maker(run), 1).samples
    assert len(samples) >= 2
    assert (samples.composite % 3 == 0).all()


def test_samples_as_tensors(whole: Samples) -> None:
    samples = whole
    assert len(samples) == 4
    same(Samples.of(samples.tensors()), samples)
    assert samples.tensors()["patches"].dtype == torch.float16
    assert torch.equal(samples.patches.half().float(), samples.patches)
    same(Samples.joined([samples[:1], samples[1:1], samples[torch.tensor([1, 2, 3])]]), samples)
    some = samples[torch.tensor([True, False, False, True])]
    assert len(some) == len(some.certificate.effect) == 2
    assert torch.equal(some.classes[1], samples.classes[3])


def test_no_samples_have_no_certificate(whole: Samples, run: Run) -> None:
    none = whole[:0]
    found = maker(run).certify(none.patches, none.classes, none.draws)
    assert len(found.holds) == 0
    same(Samples.joined([none, whole]), whole)


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


def test_a_sample_does_not_depend_on_the_memory(whole: Samples, tmp_path: Path) -> None:
    chunked = take(maker(fresh(tmp_path / "chunked", memory=1)), 1).samples
    close(whole, chunked)


def close(one: Samples, other: Samples) -> None:
    """The same optimisation, up to rounding."""
    assert torch.equal(one.steps, other.steps)
    assert torch.equal(one.draws, other.draws)
    assert torch.equal(one.classes, other.classes)
    assert (one.patches - other.patches).abs().max() < 0.01


class Cramped(ChannelMeans):
    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > 64:
            raise torch.cuda.OutOfMemoryError
        return super().forward(inputs)


def test_a_sample_does_not_depend_on_running_out_of_memory(whole: Samples, tmp_path: Path) -> None:
    cramped = take(maker(fresh(tmp_path / "cramped"), toy(Cramped())), 1).samples
    close(whole, cramped)


def test_a_sample_that_fails_does_not_act_on_the_others(
    whole: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose loss is not a number is given up; nothing changes for the rest."""
    objective, seen = OBJECTIVES["constrained"], []

    class Spoilt:
        def __getattr__(self, name: str) -> Any:
            return getattr(objective, name)

        def loss(self, outcome: Any, kind: Any, averages: Any, step: int) -> tuple[Tensor, Tensor]:
            loss, averages = objective.loss(outcome, kind, averages, step)
            seen.append(len(loss))
            if step == 10:
                loss = torch.cat([loss[:1], loss[1:2] * torch.nan, loss[2:]])
            return loss, averages

    monkeypatch.setitem(OBJECTIVES, "constrained", Spoilt())
    rest = take(maker(fresh(tmp_path / "spoilt")), 1).samples
    assert len(whole) == 4
    assert seen[:20] == [4] * 11 + [3] * 9
    close(whole[torch.tensor([0, 2, 3])], rest)


class Fragile(ChannelMeans):
    """Not a number where the first channel is bright: samples of the first class cannot be made."""

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        return torch.where(logits[:, :1] > 1.5, torch.nan, logits)


def test_a_model_that_returns_no_numbers_for_some(run: Run) -> None:
    made = take(maker(run, toy(Fragile()), "single"), 1)
    first = set(Block(maker(run, toy(Fragile()), "single"), 0).classes[:, 0].tolist())
    assert 0 in first
    assert made.finished
    assert 1 <= len(made.samples) < 4
    assert 0 not in made.samples.classes[:, 0].tolist()
    assert torch.isfinite(made.samples.patches).all()


class NeverANumber(ChannelMeans):
    """None where there is a patch, whose corner is not that of the data."""

    def forward(self, inputs: Tensor) -> Tensor:
        known = inputs[:, :1, 0, 0] == -1
        return super().forward(inputs) * torch.where(known, 1.0, torch.nan)


def test_a_model_that_returns_no_numbers_at_all(run: Run, steps: list[int]) -> None:
    made = take(maker(run, toy(NeverANumber())), 1)
    assert (len(made.samples), made.started, made.finished) == (0, 4, True)
    assert steps == [1]


def test_nothing_can_be_made(run: Run) -> None:
    """All outputs are one: nothing changes one of them alone."""
    made = take(maker(run, toy(Alike()), steps=40), 1)
    assert (len(made.samples), made.finished, made.steps) == (0, True, 40)
    assert len(made.samples.certificate.holds) == 0


class Alike(ChannelMeans):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).mean(1, keepdim=True).expand(-1, 3)


def test_the_users_model_and_inputs_are_left_alone(run: Run) -> None:
    subject = toy(Filters(3))
    subject.model.requires_grad_(True)
    before, inputs = ModelState(subject.model), subject.inputs.clone()
    take(maker(run, subject, "single"), 1)
    assert not any(before.differences().values())
    assert torch.equal(subject.inputs, inputs)


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


@pytest.mark.parametrize("at", [1, 33, 75])
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


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_snapshot_holds_all_that_matters(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "FIRST", 4)
    made = maker(run, objective=name)
    one = Block(made, 0)
    for _ in range(6):
        one.advance()
    run.store.write("snapshot", {"some": "key"}, one.state())
    saved = run.store.read("snapshot", {"some": "key"})
    assert saved is not None
    two = Block(made, 0)
    two.load(saved)
    for _ in range(6):
        one.advance()
        two.advance()
    first, second = one.state(), two.state()
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


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


def test_out_of_time(
    whole: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    made = maker(fresh(tmp_path / "store"))
    monkeypatch.setattr(blocks, "time", Clock())
    # It foresees that the first certificates, after 20 steps, will not be reached in 15 seconds.
    short = take(made, 1, seconds=15)
    assert (short.finished, short.steps, short.started, len(short.samples)) == (False, 5, 4, 0)
    assert steps == [1, 2, 3, 4, 5]
    # From there they are, but not the last ones.
    at = sorted(whole.steps.tolist())
    assert at[0] < at[-1]
    longer = take(made, 3, seconds=at[-1] - 15)
    assert not longer.finished
    assert longer.started == 4
    assert 1 <= len(longer.samples) < 4
    assert at[0] <= longer.steps < at[-1]
    assert steps == list(range(1, longer.steps + 1))
    rest = take(made, 1)
    assert rest.finished
    assert steps == list(range(1, at[-1] + 1))
    same(rest.samples, whole)
    assert rest.steps == at[-1]


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
