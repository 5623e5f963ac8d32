import math
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from features import Alike, Bent, ChannelMeans, Filters, Flat, fresh, maker, same, small_blocks, toy, windows
from torch import Tensor, nn

from xattr_check import Subject
from xattr_check.core.run import Run
from xattr_check.core.state import ModelState
from xattr_check.generation import optimisation
from xattr_check.generation.blocks import take
from xattr_check.generation.certify import DRAWS, MEDIAN, NINETIETH, REACH, SOFTMAX, SURE, Certificate
from xattr_check.generation.generator import Maker, compose_images
from xattr_check.generation.objectives import OBJECTIVES, ratios
from xattr_check.generation.optimisation import Block
from xattr_check.generation.prior import Decoders, Pixels
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import SCENARIOS


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with small_blocks(4):
        yield


@pytest.fixture(scope="module")
def whole(_small: None, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The samples of a block that nothing disturbs."""
    return take(maker(fresh(tmp_path_factory.mktemp("whole"))), 1).samples


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
            logits[:, 1 << feature].softmax(1)[:, classes[number]].sort().values[int(0.1 * (count - 1))]
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


CASES: dict[str, dict[str, Any]] = {
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
    "flat": {"subject": toy(Flat()), "name": "null"},
    "anywhere": {"fixed": False, "name": "double"},
    "decoders": {"prior": "decoder", "name": "double"},
    "released procedure": {"objective": "dynamic", "prior": "pixels"},
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
    made = maker(run, **{"name": case if case in SCENARIOS else "null", **options})
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
    again = brute_force(made, samples, samples.draws, DRAWS)
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
    assert len(samples) == 4  # none is lost to steps too small for the precision
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
    # Of a seed torch reads the lower bits; those above say where the patches of a sample are.
    assert len(used) == len(set(used)) == len({seed % 2**32 for seed, _ in used})
    assert len({seed >> 32 for seed, _ in used}) == 4
    assert {count for _, count in used} == {
        optimisation.DRAWS_A_STEP,
        optimisation.LOOK,
        optimisation.SCREEN,
        DRAWS,
        1,
    }
    assert {(seed, DRAWS) for seed in block.draws.tolist()} <= set(used)
    assert {(seed, 1) for seed in block.composite.tolist()} <= set(used)


def test_a_composite_keeps_the_certificate_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are tried where it does not."""
    certify = Maker.certify

    def fussy(made: Maker, patches: Tensor, classes: Tensor, seeds: Tensor, *how: Any) -> Certificate:
        found = certify(made, patches, classes, seeds, *how)
        if how[:1] == (1,):
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


# None acts on another.


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

        def loss(self, outcome: Any, kind: Any, averages: Any, step: Tensor) -> tuple[Tensor, Tensor]:
            loss, averages = objective.loss(outcome, kind, averages, step)
            seen.append(len(loss))
            if int(step[0]) == 10:
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


def test_a_model_that_returns_no_numbers_at_all(run: Run) -> None:
    made = take(maker(run, toy(NeverANumber())), 1)
    assert (len(made.samples), made.started, made.finished, made.steps) == (0, 4, True, 1)
    assert made.misses.shape == (4, 6)
    assert made.misses.isnan().any(1).all()


def test_nothing_can_be_made(run: Run) -> None:
    made = take(maker(run, toy(Alike()), steps=40), 1)
    assert (len(made.samples), made.finished, made.steps) == (0, True, 40)
    assert len(made.samples.certificate.holds) == 0


def test_the_users_model_and_inputs_are_left_alone(run: Run) -> None:
    subject = toy(Filters(3))
    subject.model.requires_grad_(True)
    before, inputs = ModelState(subject.model), subject.inputs.clone()
    take(maker(run, subject, "single"), 1)
    assert not any(before.differences().values())
    assert torch.equal(subject.inputs, inputs)


# Attempts.


def advanced(block: Block, steps: int) -> Block:
    for _ in range(steps):
        block.advance()
    return block


def end_soon(block: Block, row: int) -> None:
    """Let the attempt at a sample end with the next step."""
    block.taken[row] = block.prior.attempt - 1


def held_of(block: Block, row: int) -> dict[str, Tensor]:
    """All that a block holds of one sample."""
    features = block.plan.scenario.features
    patches = slice(row * features, (row + 1) * features)
    learnt = ("prior", "mean", "optimizer")
    return {
        name: (tensor[patches] if name.startswith(learnt) else tensor[row]).clone()
        for name, tensor in block.state().items()
        if tensor.dim()
    }


def agree(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=tolerance, equal_nan=True, msg=name)


def varied() -> Tensor:
    """(8, 3, 12, 12) in −1…1, all of them different."""
    return torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1


SHADES = replace(toy(), inputs=varied(), targets=torch.arange(8) % 3)


@pytest.mark.parametrize("prior", ["pixels", "decoder"])
def test_what_begins_anew(prior: str, run: Run) -> None:
    """Classes, start, its mean and what the optimizer knows; the nearest that it came to is kept."""
    made = maker(run, SHADES, prior=prior)
    block = advanced(Block(made, 0), 6)
    seen = set()
    for attempt in range(1, 9):
        end_soon(block, 1)
        before = held_of(block, 1)
        block.advance()
        after = held_of(block, 1)
        seen.add(tuple(block.classes[1].tolist()))
        assert block.attempt.tolist() == [0, attempt, 0, 0]
        assert (int(block.taken[1]), int(block.longer[1])) == (0, 0)
        assert after["averages"].isnan().all()
        assert after["block.nearest"].isfinite().all()
        learnt = [name for name, _ in block.prior.named_parameters()]
        for number, name in enumerate(learnt):
            assert torch.equal(after[f"mean.{number}"], after[f"prior.{name}"])
            for moment in ("exp_avg", "exp_avg_sq"):
                assert before[f"optimizer.{number}.{moment}"].any()
                assert not after[f"optimizer.{number}.{moment}"].any()
        for name in {"pixels": ["logits"], "decoder": ["seeds", "weights.0", "last"]}[prior]:
            assert not torch.isclose(before[f"prior.{name}"], after[f"prior.{name}"]).all()
        if isinstance(block.prior, Decoders):
            assert not block.prior.offset[2:4].any()
        advanced(block, 2)
        assert held_of(block, 1)["averages"].isfinite().all()
    assert len(seen) > 3


def test_pixels_begin_as_pieces_of_inputs_of_the_new_classes(run: Run) -> None:
    block = Block(maker(run, SHADES), 0)
    for _ in range(3):
        for row in range(4):
            end_soon(block, row)
        block.advance()
        patches = block.prior()
        for row, classes in enumerate(block.classes.tolist()):
            for feature, number in enumerate(classes):
                own = SHADES.inputs[number::3]
                low, high = block.maker.low, block.maker.high
                shares = (windows(own, 5) - low) / (high - low)
                gaps = (shares.clamp(0.02, 0.98) - patches[2 * row + feature]).flatten(1).abs().amax(1)
                assert gaps.min() < 1e-5


@pytest.mark.parametrize("prior", ["pixels", "decoder"])
def test_a_sample_that_begins_again_does_not_act_on_the_others(prior: str, run: Run) -> None:
    made = maker(run, prior=prior)
    plain, other = advanced(Block(made, 0), 6), advanced(Block(made, 0), 6)
    end_soon(other, 1)
    advanced(plain, 20)
    advanced(other, 20)
    assert other.attempt.tolist() == [0, 1, 0, 0]
    for row in (0, 2, 3):
        agree(held_of(plain, row), held_of(other, row))
    assert not torch.equal(held_of(plain, 1)["averages"], held_of(other, 1)["averages"])


@pytest.mark.parametrize("prior", ["pixels", "decoder"])
def test_a_sample_is_what_it_would_be_alone(prior: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the others begin again, and whatever their rates are; it begins again itself, too."""
    monkeypatch.setattr({"pixels": Pixels, "decoder": Decoders}[prior], "attempt", 12)
    monkeypatch.setattr(optimisation, "PROMISING", 0.0)
    made = maker(run, SHADES, prior=prior)
    whole, alone = Block(made, 0), Block(made, 0)
    alone.active = torch.arange(4) == 2
    whole.taken[:2] = torch.tensor([5, 9])
    advanced(whole, 30)
    advanced(alone, 30)
    assert whole.attempt.tolist() == [2, 3, 2, 2]
    agree(held_of(whole, 2), held_of(alone, 2), 1e-4)


def by_itself(made: Maker, row: int, taken: int, steps: int) -> tuple[Tensor, Tensor]:
    """(F, C, side, side) logits of one sample and their running mean, by an Adam of its own."""
    kind, start = made.plan.scenario, Block(made, 0)
    patches = slice(row * kind.features, (row + 1) * kind.features)
    assert isinstance(start.prior, Pixels)
    logits = start.prior.logits.detach()[patches].clone().requires_grad_()
    mean, averages, longer = logits.detach().clone(), None, 0
    adam = torch.optim.Adam([logits], betas=(0.8, 0.99))
    moments = {name: torch.zeros_like(logits) for name in ("exp_avg", "exp_avg_sq")}
    adam.state[logits] = {"step": torch.tensor(float(taken)), **moments}
    for step in range(steps):
        start.step = step
        drawn = made.draw(start._seeds("step", torch.tensor([row])), optimisation.DRAWS_A_STEP)
        shown = made.low + (made.high - made.low) * logits.sigmoid()
        outcome = made.stage.outcome(shown[None], start.classes[row : row + 1], *drawn)
        whole = torch.tensor([taken + longer * Pixels.attempt])
        loss, averages = OBJECTIVES["constrained"].loss(outcome, kind, averages, whole)
        adam.zero_grad()
        loss.sum().backward()
        falling = 0.01 + 0.495 * (1 + math.cos(math.pi * taken / Pixels.attempt))
        adam.param_groups[0]["lr"] = 0.3 * falling / 2**longer
        adam.step()
        mean.lerp_(logits.detach(), max(0.1, 10 / (taken + 10)))
        taken += 1
        if taken == Pixels.attempt:
            taken, longer = 0, longer + 1
    return logits.detach(), mean


def everything(block: Block, rows: Tensor) -> Tensor:
    return torch.ones(len(rows), dtype=torch.bool)


def test_an_attempt_that_is_near_goes_on_at_half_the_rate(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample at the rate of its own attempt, as if an optimizer of its own took its steps."""
    monkeypatch.setattr(Pixels, "attempt", 12)
    monkeypatch.setattr(optimisation, "PROMISING", 0.0)
    monkeypatch.setattr(Block, "_near", everything)
    made = maker(run)
    block, taken = Block(made, 0), [0, 5, 0, 9]
    classes = block.classes.clone()
    block.taken[:] = torch.tensor(taken)
    advanced(block, 26)
    assert isinstance(block.prior, Pixels)
    assert block.taken.tolist() == [2, 7, 2, 11]
    assert block.longer.tolist() == [2, 2, 2, 2]
    assert not block.attempt.any()
    assert torch.equal(block.classes, classes)
    for row in range(4):
        logits, mean = by_itself(made, row, taken[row], 26)
        torch.testing.assert_close(
            block.prior.logits.detach()[2 * row : 2 * row + 2], logits, rtol=0, atol=1e-3
        )
        torch.testing.assert_close(block.mean[0][2 * row : 2 * row + 2], mean, rtol=0, atol=1e-3)
    advanced(block, 12 * optimisation.LONGER - 14)  # so often, and no more
    assert block.attempt.tolist() == [1, 1, 1, 1]
    assert not block.longer.any()


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, Tensor]]:
    """The figures (F + J,) with which attempts at samples end, by sample and step."""
    found: list[dict[int, Tensor]] = []
    end = Block._end

    def noted(block: Block, rows: Tensor) -> None:
        if len(rows):
            assert block.averages is not None
            figures = block.objective.figures(block.averages, block.plan.scenario)
            found.append({row: figures[row].clone() for row in rows.tolist()})
        end(block, rows)

    monkeypatch.setattr(Block, "_end", noted)
    return found


def worst(figures: Tensor, made: Maker) -> float:
    return float(ratios(figures[None], made.plan.scenario).amax())


def margins(found: Certificate) -> Tensor:
    """(n,) how much wider the bounds have to be for certificates to hold."""
    parts = [
        found.median / MEDIAN,
        found.ninetieth / NINETIETH,
        (1 - found.softmax) / (1 - SOFTMAX),
        (1 - found.reach) / (1 - REACH),
    ]
    return torch.cat(parts, 1).amax(1)


def test_only_what_is_near_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is asked before a certificate, on as many draws as that has."""
    monkeypatch.setattr(Pixels, "attempt", 40)
    monkeypatch.setattr(optimisation, "NEAR", math.inf)
    monkeypatch.setattr(optimisation, "STALLED", math.inf)
    monkeypatch.setattr(Block, "_certify", lambda block, rows: None)
    made, seen = maker(run, toy(Filters(3)), "single"), []
    certify = Maker.certify

    def noted(made: Maker, patches: Tensor, classes: Tensor, seeds: Tensor, *how: Any) -> Certificate:
        assert how == (DRAWS, SURE)
        seen.append(certify(made, patches, classes, seeds, *how))
        return seen[-1]

    monkeypatch.setattr(Maker, "certify", noted)
    advanced(Block(made, 0), 40)
    found = margins(seen[0])
    order = found.argsort().tolist()
    monkeypatch.setattr(optimisation, "SOON", float(found[order[2]]) * (1 + 1e-6))
    block = advanced(Block(made, 0), 39)
    block.longer[order[0]] = optimisation.LONGER  # as often as it may
    block.advance()
    assert [int(block.longer[row]) for row in order] == [0, 1, 1, 0]
    assert [int(block.attempt[row]) for row in order] == [1, 0, 0, 1]


def test_what_is_far_is_not_looked_at_when_it_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pixels, "attempt", 12)
    monkeypatch.setattr(optimisation, "NEAR", 0.0)
    block = advanced(Block(maker(run), 0), 12)
    assert block.attempt.tolist() == [1, 1, 1, 1]


def test_what_is_missing_is_told_of_the_nearest_attempt(
    run: Run, monkeypatch: pytest.MonkeyPatch, ends: list[dict[int, Tensor]]
) -> None:
    monkeypatch.setattr(Pixels, "attempt", 7)
    monkeypatch.setattr(optimisation, "PROMISING", 0.0)
    monkeypatch.setattr(optimisation, "ATTEMPTS", 100)
    made = maker(run, SHADES, steps=25)
    block = Block(made, 0)
    while not block.finished:
        block.advance()
    assert [set(one) for one in ends] == [{0, 1, 2, 3}] * 4  # the last of them at the last step
    nearest = [min((one[row] for one in ends), key=lambda figures: worst(figures, made)) for row in range(4)]
    assert torch.equal(block.misses(), torch.stack(nearest))
    assert any(not torch.equal(nearest[row], ends[-1][row]) for row in range(4))


def test_an_attempt_is_looked_at_when_it_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pixels, "attempt", 83)
    monkeypatch.setattr(optimisation, "FIRST", 1000)
    assert take(maker(run), 1).samples.steps.tolist() == [83] * 4


def test_only_what_is_promising_is_looked_at(
    run: Run, monkeypatch: pytest.MonkeyPatch, ends: list[dict[int, Tensor]]
) -> None:
    """Certificates cost more than steps."""
    monkeypatch.setattr(Pixels, "attempt", 40)
    made, looked = maker(run, toy(Filters(3)), "single"), []
    certify = Maker.certify

    def noted(made: Maker, patches: Tensor, classes: Tensor, seeds: Tensor, *how: Any) -> Certificate:
        looked.append((len(patches), *how))
        return certify(made, patches, classes, seeds, *how)

    monkeypatch.setattr(Maker, "certify", noted)
    monkeypatch.setattr(optimisation, "FIRST", 1000)
    monkeypatch.setattr(optimisation, "PROMISING", 0.0)
    monkeypatch.setattr(optimisation, "NEAR", 0.0)
    advanced(Block(made, 0), 40)
    assert looked == []
    order = sorted(worst(figures, made) for figures in ends[0].values())
    monkeypatch.setattr(optimisation, "PROMISING", order[1])
    advanced(Block(made, 0), 40)
    assert looked[0][:2] == (2, 4)


def test_an_attempt_keeps_to_places_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pixels, "attempt", 10)
    seen: dict[int, set[tuple[int, ...]]] = {}
    draw = Maker.draw

    def noted(made: Maker, seeds: Tensor, count: int) -> tuple[Tensor, Tensor]:
        found = draw(made, seeds, count)
        for seed, places in zip(seeds.tolist(), found[1], strict=True):
            seen.setdefault(seed >> 32, set()).update(tuple(one.flatten().tolist()) for one in places)
        return found

    monkeypatch.setattr(Maker, "draw", noted)
    block = advanced(Block(maker(run, toy(Alike())), 0), 30)
    assert block.attempt.tolist() == [3, 3, 3, 3]
    assert len(seen) == 4 * 3
    assert all(len(places) == 1 for places in seen.values())
    assert len(set.union(*seen.values())) > 6


class Muted(ChannelMeans):
    """Nothing makes the first class."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * torch.tensor([0.0, 1.0, 1.0])


def test_what_cannot_be_made_begins_again_with_other_classes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pixels, "attempt", 80)
    made = maker(run, toy(Muted(100.0)), "single", steps=800)
    first = Block(made, 0).classes[:, 0]
    samples = take(made, 1).samples
    assert 0 < (first == 0).sum() < 4
    assert len(samples) == 4
    assert samples.classes[:, 0].ne(0).all()
    assert torch.equal(samples.steps > 80, first == 0)
    assert brute_force(made, samples, samples.draws, DRAWS).within(1.001).all()
    check_images(made, samples)


def tried(block: Block, row: int, attempts: int) -> list[list[int]]:
    """The classes of so many attempts at a sample."""
    found = []
    for attempt in range(attempts):
        block.attempt[row] = attempt
        found.append(block._own_classes(row).tolist())
    return found


@pytest.mark.parametrize("name", ["single", "saturation"])
def test_no_class_is_tried_twice_before_all_others(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then in another order; no sample has that of another."""
    monkeypatch.setattr(optimisation, "SHARED", 1.0)
    many = Subject("many", nn.Sequential(nn.Flatten(), nn.Linear(432, 7)), varied(), torch.arange(8) % 7)
    block = Block(maker(run, many, name), 0)
    orders: list[tuple[int, ...]] = []
    each = 7 // block.plan.scenario.classes
    for row in range(4):
        found = tried(block, row, 2 * each)
        first, second = ([one for group in half for one in group] for half in (found[:each], found[each:]))
        assert len(set(first)) == len(first) == len(set(second)) == block.plan.scenario.classes * each
        orders += [tuple(first), tuple(second)]
    assert len(set(orders)) == 8


class Doubled(nn.Module):
    """Of six outputs, 4 and 5 are 0 and 1 with the other sign."""

    def forward(self, inputs: Tensor) -> Tensor:
        own = inputs.flatten(1)[:, :4]
        return torch.cat([own, -own[:, :2]], 1)


def test_classes_that_hardly_differ_but_in_sign_are_left_out(run: Run) -> None:
    """The next order begins the sooner."""
    block = Block(maker(run, Subject("doubled", Doubled(), apart(), torch.arange(64) % 6), "single"), 0)
    for row in range(4):
        found = tried(block, row, 20)
        assert all({0, 4} != set(pair) != {1, 5} for pair in found)
        assert {one for pair in found for one in pair} == {0, 1, 2, 3, 4, 5}


def test_the_best_classes_are_tried_where_all_are_alike(run: Run) -> None:
    two = nn.Sequential(nn.Flatten(), nn.Linear(432, 2))
    with torch.no_grad():
        two[1].weight[1] = -two[1].weight[0]
    block = Block(maker(run, Subject("two", two, apart(), torch.arange(64) % 2), "single"), 0)
    assert [sorted(pair) for pair in tried(block, 0, 4)] == [[0, 1]] * 4


def apart() -> Tensor:
    """(64, 3, 12, 12), no two numbers of which are alike."""
    return torch.randn(64, 3, 12, 12, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("fallen", "level", "ends"),
    [(0.8, 9.0, False), (0.9, 9.0, True), (0.9, 3.0, False), (torch.nan, 9.0, False)],
)
def test_an_attempt_that_gets_nowhere_ends(
    fallen: float, level: float, ends: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose worst ratio has hardly fallen from one mark to the next, while it is far; others go on."""
    block = Block(maker(run, SHADES), 0)
    ratio = [level / fallen]
    monkeypatch.setattr(block, "_worst", lambda figures: torch.full((len(figures),), ratio[0]))
    for share in (0.3, 0.5):
        block.taken[:3] = round(share * block.prior.attempt) - 1
        block.advance()
        assert block.attempt.tolist() == [0, 0, 0, 0] or ratio[0] == level
        ratio[0] = level
    assert block.attempt.tolist() == [int(ends)] * 3 + [0]
    assert block.mark.isnan().tolist() == [ends] * 3 + [True]


@pytest.mark.parametrize("prior", ["pixels", "decoder"])
def test_a_block_that_gets_nowhere_is_given_up(prior: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Pixels, Decoders):
        monkeypatch.setattr(kind, "attempt", 5)
    monkeypatch.setattr(optimisation, "FIRST", 1000)
    made = maker(run, toy(Alike()), steps=25, prior=prior)

    def steps_of(block: Block) -> int:
        while not block.finished:
            block.advance()
        return block.step

    assert steps_of(Block(made, 0)) == 5 * optimisation.ATTEMPTS == 15
    near = Block(made, 0)
    near.nearest[1] = torch.tensor([0.99, 0.99, *[0.1] * 4])  # once, and never again
    assert steps_of(near) == 25
    assert torch.equal(near.misses()[1], near.nearest[1])
    assert near.nearest[1, 0] == 0.99
    done = Block(made, 0)
    done.certified[2], done.active[2] = 5, False
    assert steps_of(done) == 25
    assert len(done.misses()) == 3
    far = Block(made, 0)
    far.nearest[1] = torch.tensor([0.99, 0.99, *[0.17] * 4])
    assert steps_of(far) == 15
