import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from broken_anywhere import BROKEN
from features import Alike, Bent, ChannelMeans, maker, small_blocks, toy
from judging import judge, shared_folder
from torch import Tensor, nn

from xattr_check import Invalid, Store, Subject, Undefined, UsageError, load_method, load_subject
from xattr_check.core.explainer import Explainer
from xattr_check.core.recipe import Recipe
from xattr_check.core.run import Run
from xattr_check.generation import subjects as module
from xattr_check.generation.blocks import block, take
from xattr_check.generation.certify import DRAWS
from xattr_check.generation.generator import Maker
from xattr_check.generation.noise import calmed
from xattr_check.generation.optimisation import Block
from xattr_check.generation.plan import Plan
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import scenario
from xattr_check.generation.subjects import generated, make_subject, pack


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """Few samples are enough."""
    with small_blocks(6) as patch:
        patch.setattr(module, "LEAST", 3)
        patch.setattr(module, "BLOCKS", {"quick": 1, "standard": 2, "full": 3})
        yield


MODELS = {"null": ChannelMeans(100), "double": ChannelMeans(100), "single": ChannelMeans(100)}
MODELS |= {"saturation": Bent(200)}

Made = dict[str, tuple[Maker, Samples]]


@pytest.fixture(scope="module")
def made(_small: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Samples of each scenario, and of `null` with three features."""
    run = Run(store=Store(shared_folder(tmp_path_factory, "made features")))

    def samples(name: str, features: int | None = None) -> tuple[Maker, Samples]:
        made = maker(run, toy(MODELS[name]), name, features)
        return made, take(made, 1).samples

    return {name: samples(name) for name in MODELS} | {"three": samples("null", 3)}


def shipping(made: Made, name: str, model: nn.Module | None = None) -> Subject:
    """A subject that brings its samples along."""
    maker, samples = made[name]
    kind = maker.plan.scenario.name
    return replace(toy(model or MODELS[kind]), generated={kind: pack(maker, samples)})


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many samples were certified, on how many draws each."""
    seen: list[tuple[int, int]] = []
    certify = Maker.certify

    def counted(maker: Maker, patches: Tensor, classes: Tensor, seeds: Tensor, *count: int) -> Any:
        seen.append((len(patches), *(count or (DRAWS,))))
        return certify(maker, patches, classes, seeds, *count)

    monkeypatch.setattr(Maker, "certify", counted)
    return seen


CASES = ["null", "double", "single", "saturation", "three"]


@pytest.mark.parametrize("case", CASES)
def test_the_truth_is_right_pixel_by_pixel(case: str, made: Made, run: Run) -> None:
    given, (maker, samples) = shipping(made, case), made[case]
    kind, side = maker.plan.scenario, maker.plan.side
    found = generated(kind.name)(given, run)
    assert found.model is given.model
    assert found.inputs.shape == (len(samples), 3, 12, 12)
    assert len(samples) >= 4
    assert torch.equal(found.targets, samples.classes[:, 0])
    masks = {f"mask_{'abc'[feature]}" for feature in range(kind.features)}
    others = set() if kind.saturating else {"other_target", "other_mask"}
    assert set(found.truth) == {"mask", *masks, *others}
    for row, seed in enumerate(samples.composite.tolist()):
        generator = torch.Generator().manual_seed(seed)
        assert given.reference is not None
        image = given.reference(1, generator)[0]
        own = torch.Generator().manual_seed(seed >> 32)
        places = maker.plan.place(1, maker.geometry, own)[0].tolist()
        every = []
        for feature, (top, left) in enumerate(places):
            image[:, top : top + side, left : left + side] = samples.patches[row, feature]
            every.append(torch.zeros(1, 12, 12, dtype=torch.bool))
            every[-1][:, top : top + side, left : left + side] = True
            assert torch.equal(found.truth[f"mask_{'abc'[feature]}"][row], every[-1])
        assert torch.equal(found.inputs[row], image)
        union = torch.stack(every).any(0)
        assert torch.equal(found.truth["mask"][row], union if kind.saturating else every[0])
        if not kind.saturating:
            other = torch.zeros_like(union) if case == "single" else every[1]
            assert torch.equal(found.truth["other_mask"][row], other)
    if not kind.saturating:
        assert torch.equal(found.truth["other_target"], samples.classes[:, 1])


def without(found: Subject, masks: Tensor) -> Tensor:
    """The model's outputs where pixels are black, which is nearly absence here."""
    with torch.no_grad():
        outputs: Tensor = found.model(torch.where(masks, torch.zeros(()), found.inputs))
    return outputs


@pytest.mark.parametrize("case", CASES)
def test_the_truth_is_true_of_the_model(case: str, made: Made, run: Run) -> None:
    """Removing a patch does to the outputs what the truth says."""
    found = generated(made[case][0].plan.scenario.name)(shipping(made, case), run)
    with torch.no_grad():
        outputs = found.model(found.inputs)
    truth = found.truth
    target = found.targets[:, None]
    effect = (outputs - without(found, truth["mask"])).gather(1, target)
    assert (effect > 3).all()
    if case == "saturation":
        for name in ("mask_a", "mask_b"):
            change = (outputs - without(found, truth[name])).gather(1, target)
            assert (change.abs() < 0.2 * effect).all()
        return
    other = truth["other_target"][:, None]
    change = outputs - without(found, truth["mask_b" if "mask_b" in truth else "mask_a"])
    assert (change.gather(1, target).abs() < 0.2 * effect).all() or case == "single"
    if case in ("double", "single"):
        change = (outputs - without(found, truth["mask_a"])).gather(1, other)
        assert (change.abs() < 0.2 * effect).all()


@pytest.mark.parametrize("case", CASES)
def test_what_else_a_derived_subject_has(case: str, made: Made, run: Run) -> None:
    kind = made[case][0].plan.scenario.name
    given = replace(
        shipping(made, case),
        regions=torch.zeros(12, 12, dtype=torch.int64),
        truth={"severity": torch.zeros(8)},
        siblings={"scene": ChannelMeans()},
        recipe=Recipe(ChannelMeans, dict),
    )
    found = generated(kind)(given, run)
    assert found.name == given.name
    assert found.reference is given.reference
    assert found.regions is found.recipe is None
    assert not found.siblings
    assert not found.generated
    assert "severity" not in found.truth
    assert found.fingerprint != given.fingerprint
    assert found.fingerprint == generated(kind)(given, run).fingerprint


@pytest.mark.parametrize("case", CASES)
def test_the_oracle_shows_what_makes_each_output(case: str, made: Made, run: Run) -> None:
    found = generated(made[case][0].plan.scenario.name)(shipping(made, case), run)
    oracle = Explainer.of(load_method("xattr:oracle"), found, run)
    maps = oracle(found.model, found.inputs, found.targets)
    assert torch.equal(maps.bool(), found.truth["mask"])
    if case != "saturation":
        maps = oracle(found.model, found.inputs, found.truth["other_target"])
        assert torch.equal(maps.bool(), found.truth["other_mask"])


def test_what_ships_is_verified_once(made: Made, run: Run, counts: list[tuple[int, int]]) -> None:
    given, count = shipping(made, "null"), len(made["null"][1])
    first = generated("null")(given, run)
    assert sorted(counts) == [(count, 1), (count, DRAWS)]
    counts.clear()
    again = generated("null")(given, Run(store=run.store))
    assert counts == []
    assert torch.equal(first.inputs, again.inputs)
    counts.clear()
    # Of another model nothing is known yet.
    generated("null")(shipping(made, "null", ChannelMeans(101)), Run(store=run.store))
    assert sorted(counts) == [(count, 1), (count, DRAWS)]


def test_of_many_that_ship_a_few_are_drawn_again_where_they_are_of_this_model(
    made: Made, run: Run, counts: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPOT", 2)
    count = len(made["null"][1])
    assert len(generated("null")(shipping(made, "null"), run).inputs) == count
    assert sorted(counts) == [(2, DRAWS), (count, 1)]
    counts.clear()
    # Of other weights, whatever a few samples say, and of the same weights in another function.
    generated("null")(shipping(made, "null", Leaky(0.001)), run)
    assert sorted(counts) == [(count, 1), (count, DRAWS)]
    counts.clear()
    generated("null")(shipping(made, "null", ChannelMeans(101)), run)
    assert sorted(counts)[-2:] == [(count, 1), (count, DRAWS)]


class Leaky(ChannelMeans):
    """Some of the second channel gets into the first output."""

    def __init__(self, leak: float) -> None:
        super().__init__(100)
        self.register_buffer("leak", torch.tensor(leak))

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        return torch.cat([logits[:, :1] + self.leak * logits[:, 1:2].relu(), logits[:, 1:]], 1)


def test_what_no_longer_holds_is_dropped(made: Made, run: Run) -> None:
    _, samples = made["null"]
    spoilt = (samples.classes == torch.tensor([0, 1])).all(1)
    assert 0 < spoilt.sum() < len(samples) - 2
    found = generated("null")(shipping(made, "null", Leaky(0.3)), run)
    assert torch.equal(found.targets, samples.classes[~spoilt, 0])
    assert torch.equal(found.truth["other_target"], samples.classes[~spoilt, 1])
    found = generated("null")(shipping(made, "null", Leaky(0.0)), run)
    assert len(found.inputs) == len(samples)


def test_what_ships_holds_on_all_draws_and_on_its_own(
    made: Made, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    certify, samples = Maker.certify, made["null"][1]

    def fussy(maker: Maker, patches: Tensor, classes: Tensor, seeds: Tensor, *count: int) -> Any:
        found = certify(maker, patches, classes, seeds, *count)
        found.median[1 if count == (1,) else 0] = torch.inf
        return found

    monkeypatch.setattr(Maker, "certify", fussy)
    found = generated("null")(shipping(made, "null"), run)
    assert torch.equal(found.targets, samples.classes[2:, 0])


def test_too_little_of_what_ships_holds(made: Made, run: Run) -> None:
    with pytest.raises(Invalid) as raised:
        generated("null")(shipping(made, "null", ChannelMeans(0.1)), run)
    assert str(raised.value) == (
        f"0 of the {len(made['null'][1])} samples that ship with 'toy' keep their certificate with this "
        "model, at least 3 have to"
    )
    maker, samples = made["null"]
    empty = replace(toy(MODELS["null"]), generated={"null": pack(maker, samples[:0])})
    with pytest.raises(Invalid, match=r"^0 of the 0 samples that ship"):
        generated("null")(empty, run)


def test_what_does_not_ship_is_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = toy(ChannelMeans(100))
    found = generated("single")(given, run)
    maker = Maker(given, Plan.of(given, scenario("single")), run)
    samples = block(maker, 0).samples
    assert 3 <= len(samples) == len(found.inputs)
    assert torch.equal(found.inputs, make_subject(given, maker, samples).inputs)

    def advance(block: Block) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(Block, "advance", advance)
    assert torch.equal(generated("single")(given, Run(store=run.store)).inputs, found.inputs)


def test_the_seed_of_the_run_is_that_of_the_samples(run: Run) -> None:
    one = generated("single")(toy(ChannelMeans(100)), run)
    other = generated("single")(toy(ChannelMeans(100)), Run(store=run.store, seed=1))
    assert one.fingerprint != other.fingerprint


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps, all of which are taken."""
    of = Plan.of
    monkeypatch.setattr(Plan, "of", lambda *args, **options: of(*args, steps=60, **options))


@pytest.mark.usefixtures("hurried")
def test_a_model_that_lets_nothing_be_made(run: Run) -> None:
    with pytest.raises(Invalid) as raised:
        generated("single")(toy(Alike()), run)
    assert str(raised.value) == (
        "0 of 6 started samples were certified, at least 3 have to be: this model does not let features be "
        "made for 'single' with patches of 5 pixels; for 6 of the 6 left it is the probability of the "
        "class that a makes alone that stands in the way: it is 0.33 on average and has to be about 0.98"
    )


@pytest.mark.usefixtures("hurried")
def test_a_model_in_which_nothing_saturates(run: Run) -> None:
    with pytest.raises(Invalid) as raised:
        generated("saturation")(toy(ChannelMeans(200)), run)
    assert re.sub(r"\d\.\d\d of", "… of", str(raised.value)).endswith(
        "does to output a that stands in the way: it comes to … of the effect and may be about 0.09, since "
        "what the patches do adds up"
    )


class NeverANumber(ChannelMeans):
    """None where there is a patch, whose corner is not that of the data."""

    def forward(self, inputs: Tensor) -> Tensor:
        known = inputs[:, :1, 0, 0] == -1
        return super().forward(inputs) * torch.where(known, 1.0, torch.nan)


def test_a_model_that_returns_no_numbers(run: Run) -> None:
    with pytest.raises(Invalid, match=r"with patches of 5 pixels; their outputs are not finite numbers$"):
        generated("double")(toy(NeverANumber()), run)


def test_too_few_where_no_others_would_be_done_in_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """More time would make more: the model is not to blame."""
    made = take(maker(run, toy(ChannelMeans(100)), "single"), 1)
    few = replace(made, samples=made.samples[:2], misses=torch.zeros(4, 2), seconds=41.3)
    monkeypatch.setitem(module.BLOCKS, "quick", 4)
    monkeypatch.setattr(module, "take", lambda *args, **options: few)
    with pytest.raises(Invalid) as raised:
        generated("single")(toy(ChannelMeans(100)), run)
    assert str(raised.value) == (
        "2 of 6 started samples were certified in 41 s, at least 3 have to be; --xattr-budget=quick begins "
        "no others that would not be done within 60 s; a run with --xattr-budget=standard goes on from "
        "there, and so does `xattr-check generate --scenario=single -n 32` with the options of this run that "
        "name the subject, the seed, the device and the storage"
    )
    # All that may be started were, or the first ones came to none.
    for other in (replace(few, started=24), replace(few, samples=made.samples[:0])):
        monkeypatch.setattr(module, "take", lambda *args, other=other, **options: other)
        with pytest.raises(Invalid, match="this model does not let features be made"):
            generated("single")(toy(ChannelMeans(100)), run)


def test_each_budget_asks_for_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float, float, tuple[int, int]]] = []

    def noted(made: Maker, blocks: int, seconds: float, begin: float, enough: tuple[int, int]) -> Any:
        asked.append((blocks, seconds, begin, enough))
        return take(made, 1)

    monkeypatch.setattr(module, "take", noted)
    for budget in ("quick", "standard", "full"):
        generated("single")(toy(ChannelMeans(100)), Run(store=run.store, budget=budget))
    assert asked == [
        (1, 150, 60, (1, 3)), (2, math.inf, math.inf, (2, 3)), (3, math.inf, math.inf, (3, 3))
    ]  # fmt: skip


class Few(ChannelMeans):
    """A model that takes so many inputs at once and no more."""

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > 8:
            raise ValueError(f"at most 8 at once, not {len(inputs)}")
        return super().forward(inputs)


def test_what_the_model_raises_is_told_of_the_model(run: Run) -> None:
    told = r"the model raised ValueError on \d+ inputs at once, .*: at most 8 at once, not \d+"
    with pytest.raises(Invalid, match=told):
        generated("single")(toy(Few(100)), run)


# More are made where a method is not clear by the first.


def test_each_stage_begins_with_what_was_there(run: Run) -> None:
    given, wide = toy(ChannelMeans(100)), Run(store=run.store, budget="full")
    stages = generated("single").stages(given, wide)
    assert [one.blocks for one in stages] == [1, 2, 3]
    assert stages[0] is generated("single").stages(given, wide)[0]
    found = [one(given, wide).inputs for one in stages]
    assert len(found[0]) < len(found[1]) < len(found[2])
    for few, more in pairwise(found):
        assert torch.equal(few, more[: len(few)])
    assert torch.equal(found[-1], generated("single")(given, wide).inputs)


@pytest.mark.parametrize(
    ("most", "counts"), [(1, [1]), (4, [1, 2, 3, 4]), (8, [1, 2, 3, 4, 6, 8]), (10, [1, 2, 3, 4, 6, 8, 10])]
)
def test_stages_grow_by_half_at_the_most(
    most: int, counts: list[int], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.BLOCKS, "quick", most)
    stages = generated("single").stages(toy(ChannelMeans(100)), run)
    assert [one.blocks for one in stages] == counts


def test_what_ships_is_there_at_once(made: Made, run: Run) -> None:
    own = generated("null")
    assert own.stages(shipping(made, "null"), run) == [own]


def test_time_is_not_given_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the seconds of a budget a stage has what the one before has left."""
    left: list[float] = []

    def noted(made: Maker, blocks: int, seconds: float, **options: Any) -> Any:
        left.append(seconds)
        return replace(take(made, 1), seconds=40.0)

    monkeypatch.setattr(module, "take", noted)
    given = toy(ChannelMeans(100))
    for count in (1, 2):
        generated("single", blocks=count)(given, run)
    assert left == [150, 110]


def test_nothing_is_made_once_the_time_is_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what there was by then stays what it was, in its order."""
    calls: list[int] = []

    def noted(made: Maker, blocks: int, **options: Any) -> Any:
        calls.append(blocks)
        return replace(take(made, 1), finished=False)

    monkeypatch.setattr(module, "take", noted)
    given = toy(ChannelMeans(100))
    few, more = (generated("single", blocks=count)(given, run).inputs for count in (1, 2))
    assert len(calls) == 1
    assert torch.equal(few, more)


# What a quick run makes none of.


def test_a_quick_run_may_take_what_there_is(run: Run) -> None:
    given, later = toy(ChannelMeans(100)), generated("single", anew="standard")
    with pytest.raises(Undefined) as raised:
        later(given, run)
    assert str(raised.value) == (
        "--xattr-budget=quick makes no single features; a run with --xattr-budget=standard makes them, and "
        "so does `xattr-check generate --scenario=single -n 32` with the options of this run that name the "
        "subject, the seed, the device and the storage"
    )
    made = block(maker(run, given, "single", steps=1500), 0)
    assert torch.equal(later(given, run).inputs, generated("single")(given, run).inputs)
    assert len(later(given, run).inputs) == len(made.samples)
    larger = later(given, Run(store=run.store, budget="standard"))
    assert len(larger.inputs) > len(made.samples)
    # All that is there by now.
    assert torch.equal(later(given, run).inputs, larger.inputs[: len(later(given, run).inputs)])


# How much features do.


@pytest.mark.parametrize(("name", "share"), [("suppression", -0.5), ("graded", 0.4)])
def test_what_each_feature_is_worth(name: str, share: float, run: Run) -> None:
    given = toy(ChannelMeans(100))
    found = generated(name)(given, run)
    truth = found.truth
    assert torch.equal(truth["worth"], truth["mask_a"] + share * truth["mask_b"])
    assert torch.equal(truth["mask"], truth["mask_a"] | truth["mask_b"] if share > 0 else truth["mask_a"])
    assert "other_target" not in truth
    assert "only_a" not in truth
    nothing = torch.zeros_like(truth["mask_a"])
    outputs = [without(found, mask) for mask in (nothing, truth["mask_a"], truth["mask_b"])]
    whole, without_a, without_b = (one.gather(1, found.targets[:, None]) for one in outputs)
    assert ((whole - without_b) / (whole - without_a) - share).abs().max() < 0.15


def test_inputs_with_one_feature_where_they_act_together(run: Run) -> None:
    found = generated("synergy")(toy(Conjunction()), run)
    truth = found.truth
    assert torch.equal(truth["mask"], truth["mask_a"] | truth["mask_b"])
    assert "worth" not in truth
    for letter, other in ("ab", "ba"):
        shown, missing = truth[f"only_{letter}"], truth[f"mask_{other}"].expand_as(found.inputs)
        assert torch.equal(shown[~missing], found.inputs[~missing])
        assert not torch.equal(shown[missing], found.inputs[missing])


def test_features_in_each_others_places(run: Run) -> None:
    """Certified there as well; pixel by pixel the patches are the same."""
    given = toy(ChannelMeans(100))
    found = generated("exchange")(given, run)
    truth, plain = found.truth, maker(run, given, "exchange", steps=1500)
    for row in range(len(found.inputs)):
        before, after = found.inputs[row], truth["exchanged"][row]
        for one, other in ("ab", "ba"):
            was, now = (truth[f"mask_{letter}"][row].expand_as(before) for letter in (one, other))
            assert torch.equal(before[was], after[now])
    rest = ~(truth["mask_a"] | truth["mask_b"]).expand_as(found.inputs)
    assert not torch.equal(found.inputs[rest], truth["exchanged"][rest])  # on another reference
    seeds = torch.tensor([7, 8])
    _, places = plain.draw(seeds, 4)
    own = plain.fixed_places(seeds)
    for number in range(4):
        assert torch.equal(places[0, number], own[0] if number % 2 else own[0].flip(0))
        assert torch.equal(places[1, number], own[1].flip(0) if number % 2 else own[1])


def test_what_belongs_to_one_place_is_not_exchanged(run: Run) -> None:
    with pytest.raises(UsageError) as raised:
        maker(run, toy(), "exchange", fixed=False)
    assert str(raised.value) == (
        "scenario 'exchange': expected patches that are made for two places, came patches that go anywhere"
    )
    with pytest.raises(Undefined, match="came patches of columns, each of which is of a kind of its own"):
        generated("exchange")(load_subject("columns"), run)


class Conjunction(ChannelMeans):
    """Channel means that have to be larger than what one patch makes of them."""

    def __init__(self) -> None:
        super().__init__(60)

    def forward(self, inputs: Tensor) -> Tensor:
        return 3 * nn.functional.softplus(super().forward(inputs) - 11)


# How wide the noise is.


def noisy() -> Subject:
    """Whose outputs vary so little over its inputs that the noise of a tenth of the range is loud."""
    return replace(toy(ChannelMeans(400)), reference=None)


def test_features_are_made_on_quiet_noise(run: Run) -> None:
    given = noisy()
    quiet = calmed(maker(run, given, "single", steps=1500))
    assert quiet.plan.noise == 0.0125
    found = generated("single")(given, run)
    samples = block(quiet, 0).samples
    assert torch.equal(found.inputs, make_subject(given, quiet, samples).inputs)
    outside = found.inputs[~found.truth["mask"].expand_as(found.inputs)]
    assert float(outside.std()) == pytest.approx(0.0125 * 2, rel=0.1)


def test_how_wide_the_noise_was_ships(run: Run) -> None:
    given = noisy()
    quiet = calmed(maker(run, given, "single"))
    samples = take(quiet, 1).samples
    packed = pack(quiet, samples)
    assert packed["noise"].item() == 0.0125
    assert packed["fixed"].item() is True
    found = generated("single")(replace(given, generated={"single": packed}), run)
    assert torch.equal(found.inputs, make_subject(given, quiet, samples).inputs)
    # What does not say it was made on noise of a tenth of the range.
    loud = Maker(given, replace(quiet.plan, noise=0.1), run)
    kept = loud.certify(samples.patches, samples.classes, samples.draws).holds
    kept &= loud.certify(samples.patches, samples.classes, samples.composite, 1).holds
    del packed["noise"]
    given = replace(given, generated={"single": packed})
    if kept.sum() < 3:
        with pytest.raises(Invalid, match="keep their certificate"):
            generated("single")(given, run)
    else:
        found = generated("single")(given, run)
        assert torch.equal(found.inputs, make_subject(given, loud, samples[kept.nonzero().squeeze(1)]).inputs)


# What there is time for.


def test_too_little_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = toy(ChannelMeans(100))
    with monkeypatch.context() as patch:
        patch.setitem(module.SECONDS, "quick", 0.0)
        with pytest.raises(Invalid) as raised:
            generated("single")(given, run)
    assert re.sub(r"and \d+ s(?=;)|take \d+ (s|min)", "…", str(raised.value)) == (
        "0 of 6 started samples were certified after 1 steps …; --xattr-budget=quick allows 0 s, and 32 "
        "samples, which decide most methods, would … here if they are as easy as most; a run with "
        "--xattr-budget=standard goes on from there, and so does `xattr-check generate --scenario=single "
        "-n 32` with the options of this run that name the subject, the seed, the device and the storage"
    )
    taken: list[int] = []
    advance = Block.advance

    def counted(block: Block) -> None:
        taken.append(block.step)
        advance(block)

    monkeypatch.setattr(Block, "advance", counted)
    assert len(generated("single")(given, Run(store=run.store)).inputs) >= 3  # the next run
    assert taken[0] == 1


def test_a_larger_budget_makes_more(run: Run) -> None:
    quick = generated("single")(toy(ChannelMeans(100)), run)
    standard = generated("single")(toy(ChannelMeans(100)), Run(store=run.store, budget="standard"))
    assert len(standard.inputs) > len(quick.inputs)
    assert torch.equal(standard.inputs[: len(quick.inputs)], quick.inputs)


class Detached(ChannelMeans):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.detach())


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (toy(Detached()), "no gradient reaches the inputs; it stops at the model's own forward"),
        (
            toy(size=(6, 6)),
            "patch=4: 2 patches cannot be kept apart in 6×6 inputs; choose a smaller patch",
        ),
    ],
)
def test_where_there_can_be_no_features(given: Subject, reason: str, run: Run) -> None:
    with pytest.raises(Undefined) as raised:
        generated("null")(given, run)
    assert str(raised.value).removeprefix(f"subject {given.name!r}: ") == reason


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_shows_what_a_cpu_shows(case: str, made: Made, run: Run) -> None:
    given, name = shipping(made, case), made[case][0].plan.scenario.name
    one = generated(name)(given, run)
    inputs, truth = one.inputs, dict(one.truth)
    other = generated(name)(given.to(torch.device("cuda")), run)
    assert other.inputs.device.type == other.targets.device.type == "cuda"
    assert torch.equal(other.inputs.cpu(), inputs)
    assert all(torch.equal(other.truth[key].cpu(), value) for key, value in truth.items())


@pytest.mark.gpu
def test_a_gpu_makes_features(run: Run) -> None:
    found = generated("single")(toy(ChannelMeans(100)).to(torch.device("cuda")), run)
    assert len(found.inputs) >= 3
    assert found.inputs.device.type == "cuda"


def test_labels_have_features_too(run: Run) -> None:
    """Each makes a label of its own, whose sigmoid says so, and others may hold beside it."""
    subject = replace(toy(ChannelMeans(100)), output="labels")
    with small_blocks(32):
        found = generated("null")(subject, run)
        with torch.no_grad():
            shown = subject.model(found.inputs).sigmoid()
        assert len(found.inputs) == 32
        assert bool((shown.gather(1, found.targets[:, None]) > 0.94).all())
        # By the softmax each would leave the other less than a half.
        assert float(shown.gather(1, found.truth["other_target"][:, None]).mean()) > 0.8
        right, broken = "xattr:occlusion?window=5", BROKEN["another_target"].on("another_target", subject)
        verdicts = [judge("null_feature", method, subject, run) for method in (right, broken)]
        assert [one.status for one in verdicts] == ["pass", "fail"], verdicts


@pytest.mark.parametrize("output", ["value", "margin"])
def test_other_outputs_have_none(output: str, run: Run) -> None:
    model = nn.Sequential(ChannelMeans(), nn.Linear(3, 1))
    subject = Subject("toy", model, toy().inputs, toy().targets, output=output)
    told = "needs logits, which subject 'toy' does not offer"
    assert judge("null_feature", "xattr:occlusion", subject, run).sentence == told
