import copy
import math
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from features import ChannelMeans, Given, given, network
from torch import Tensor, nn

from xattr_check.core.outputs import Labels
from xattr_check.core.state import ModelState
from xattr_check.generation.certify import (
    ASKED,
    DRAWS,
    FREED,
    SURE,
    Certificate,
    Outcome,
    Stage,
    Variant,
    certificate,
    unit,
)
from xattr_check.generation.scenarios import Scenario, scenario
from xattr_check.perturbation.outputs import Probe

PLENTY = 2**30
SCENARIOS = [("null", 2), ("null", 3), ("double", 2), ("double", 3), ("single", 1), ("saturation", 2)]
SCENARIOS += [("saturation", 3), ("synergy", 2), ("synergy", 3), ("suppression", 2), ("graded", 2)]


def stage(kind: Scenario, model: nn.Module | None = None, memory: int = PLENTY) -> Stage:
    return Stage(network() if model is None else model, torch.zeros(2, 3, 12, 12).double(), kind, memory)


class Textbook:
    """One sample, one draw, one coalition, one image at a time."""

    def __init__(self, model: nn.Module, kind: Scenario, given: Given) -> None:
        self.model, self.kind = model, kind
        self.patches, self.classes, self.references, self.places = given

    def logits(self, sample: int, draw: int, features: set[int]) -> list[float]:
        image = self.references[sample, draw].clone()
        side = self.patches.shape[-1]
        for feature in features:
            top, left = self.places[sample, draw, feature].tolist()
            image[:, top : top + side, left : left + side] = self.patches[sample, feature]
        with torch.no_grad():
            found: list[float] = self.model(image[None])[0].tolist()
        return found

    def outcome(self) -> Outcome:
        rows = [
            [self.one(sample, draw) for draw in range(self.references.shape[1])]
            for sample in range(len(self.patches))
        ]
        names = [one.name for one in fields(Outcome)]
        return Outcome(**{
            name: torch.tensor([[one[name] for one in row] for row in rows], dtype=torch.float64)
            for name in names
        })  # fmt: skip

    def one(self, sample: int, draw: int) -> dict[str, float | list[float]]:
        kind, classes = self.kind, self.classes[sample].tolist()
        every = set(range(kind.features))
        empty = self.logits(sample, draw, set())
        own, logit, effect = [], [], []
        for coalition, output in kind.made:
            alone = self.logits(sample, draw, {feature for feature in every if coalition >> feature & 1})
            target = classes[output]
            logit.append(alone[target])
            own.append(math.log(math.exp(alone[target]) / sum(map(math.exp, alone))))
            effect.append(alone[target] - empty[target])
        larger, smaller = [], []
        for change in kind.changes:
            before = {feature for feature in every if change.smaller >> feature & 1}
            target = classes[change.output]
            smaller.append(self.logits(sample, draw, before)[target])
            larger.append(self.logits(sample, draw, before | {change.feature})[target])
        whole = self.logits(sample, draw, every)[classes[0]] - empty[classes[0]]
        return {
            "own": own, "logit": logit, "effect": effect,
            "larger": larger, "smaller": smaller, "whole": whole,
        }  # fmt: skip

    def certificate(self) -> Certificate:
        found, kind = self.outcome(), self.kind
        samples, draws = range(len(self.patches)), range(self.references.shape[1])
        table: dict[str, list[object]] = {one.name: [] for one in fields(Certificate)}
        for sample in samples:
            units = [
                min(float(found.effect[sample, draw, number]) for number in kind.contributing)
                for draw in draws
            ]
            changes = []
            for number in range(len(kind.changes)):
                changes.append([])
                for draw in draws:
                    change = found.larger[sample, draw, number] - found.smaller[sample, draw, number]
                    off = abs(float(change) - kind.changes[number].share * units[draw])
                    changes[-1].append(off / units[draw] if units[draw] > 0 else math.inf)
            reach = []
            for number in range(len(kind.made)):
                reach.append([])
                for draw in draws:
                    whole = float(found.whole[sample, draw])
                    share = float(found.effect[sample, draw, number]) / whole if whole > 0 else 0.0
                    reach[-1].append(share if kind.saturating else 1.0)
            table["effect"].append(middle(units))
            table["median"].append([at_least(one, 0.5) for one in changes])
            table["ninetieth"].append([at_least(one, 0.9) for one in changes])
            table["softmax"].append(
                [
                    at_most([math.exp(float(v)) for v in found.own[sample, :, number]], 0.1)
                    for number in range(len(kind.made))
                ]
            )
            table["reach"].append([middle(one) for one in reach])
        return Certificate(**{name: torch.tensor(rows).double() for name, rows in table.items()})


def middle(values: list[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def at_least(values: list[float], share: float) -> float:
    """The smallest observed value below which so much of the way through the others lies."""
    return sorted(values)[math.ceil(share * (len(values) - 1))]


def at_most(values: list[float], share: float) -> float:
    """The largest observed value that is no further than so much of the way through the others."""
    return sorted(values)[math.floor(share * (len(values) - 1))]


def same(one: object, other: object) -> None:
    for field in fields(one):  # type: ignore[arg-type]
        torch.testing.assert_close(getattr(one, field.name), getattr(other, field.name))


@pytest.mark.parametrize(("name", "features"), SCENARIOS)
def test_outcomes_agree_with_the_textbook(name: str, features: int) -> None:
    kind = scenario(name, features)
    data = given(kind)
    with torch.no_grad():
        found = stage(kind).outcome(*data)
    same(found, Textbook(network(), kind, data).outcome())


@pytest.mark.parametrize("draws", [1, 2, 10, 32])
@pytest.mark.parametrize(("name", "features"), SCENARIOS)
def test_certificates_agree_with_the_textbook(name: str, features: int, draws: int) -> None:
    kind = scenario(name, features)
    data = given(kind, draws=draws, seed=draws)
    found = stage(kind).certify(*data)
    same(found, Textbook(network(), kind, data).certificate())
    assert not found.effect.requires_grad


def additive(kind: Scenario, values: list[list[float]], draws: int = 9) -> Certificate:
    """The certificate of flat patches (F, C) on black references, with the channel means for a model.

    A patch of value v in a channel covers a ninth of the image: it adds 40 v / 9 to the channel's logit.
    """
    patches = torch.tensor(values).double()[None, :, :, None, None].expand(1, -1, -1, 4, 4)
    _, _, references, places = given(kind, 1, draws)
    classes = torch.arange(kind.classes)[None]
    return stage(kind, ChannelMeans()).certify(patches, classes, 0 * references, places)


def test_a_true_null_feature_holds() -> None:
    found = additive(scenario("null"), [[1, 0, 0], [0, 1, 0]])
    assert found.holds.tolist() == [True]
    assert found.effect.item() == pytest.approx(40 / 9)
    assert found.median.abs().max() < 1e-12
    assert found.softmax[0].tolist() == pytest.approx([1 / (1 + 2 * math.exp(-40 / 9))] * 2)
    assert found.reach.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("leak", "holds"), [(0.0699, True), (-0.0699, True), (0.0701, False), (-0.0701, False)]
)
def test_a_null_feature_may_leak_so_much(leak: float, holds: bool) -> None:
    found = additive(scenario("null"), [[1, 0, 0], [leak, 1, 0]])
    assert found.median.tolist() == [pytest.approx([abs(leak)] * 2)]
    assert found.holds.item() is holds


def test_the_weaker_effect_is_the_unit() -> None:
    found = additive(scenario("double"), [[1.2, 0, 0], [0.06, 0.9, 0]])
    assert found.effect.item() == pytest.approx(0.9 * 40 / 9)
    assert found.median.amax().item() == pytest.approx(0.06 / 0.9)


def test_features_that_add_up_do_not_saturate() -> None:
    found = additive(scenario("saturation"), [[1, 0, 0], [1, 0, 0]])
    assert found.reach.tolist() == [pytest.approx([0.5, 0.5])]
    assert found.median.tolist() == [pytest.approx([1, 1])]
    assert not found.holds.item()


@pytest.mark.parametrize(
    ("name", "share", "holds"),
    [
        ("suppression", -0.5, True), ("suppression", -0.5699, True), ("suppression", -0.4301, True),
        ("suppression", -0.5701, False), ("suppression", -0.4299, False), ("suppression", 0.5, False),
        ("graded", 0.4, True), ("graded", 0.4699, True), ("graded", 0.4701, False), ("graded", 0.3299, False),
    ],
)  # fmt: skip
def test_a_share_of_the_effect_is_met_on_both_sides(name: str, share: float, holds: bool) -> None:
    kind = scenario(name)
    found = additive(kind, [[1, 0, 0], [share, 0, 0]])
    assert found.median[0].tolist() == pytest.approx([abs(share - kind.changes[0].share)] * 2, abs=1e-6)
    assert found.holds.item() is holds


class Both(ChannelMeans):
    """Channel means of which half the effect of two patches is needed before there is anything."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * (super().forward(inputs) - 40 / 9).clamp_min(0)


def test_features_that_do_nothing_without_each_other() -> None:
    """The unit is what both do, and nothing is asked of the step that completes them."""
    kind = scenario("synergy")
    patches = torch.zeros(1, 2, 3, 4, 4).double()
    patches[:, :, 0] = 1
    _, _, references, places = given(kind, 1)
    classes = torch.zeros(1, 1).long()
    found = stage(kind, Both()).certify(patches, classes, 0 * references, places)
    assert found.holds.item()
    assert found.effect.item() == pytest.approx(80 / 9)
    assert found.softmax.shape == found.reach.shape == (1, 1)
    assert not additive(kind, [[1, 0, 0], [1, 0, 0]]).holds.item()


class Saturating(ChannelMeans):
    def forward(self, inputs: Tensor) -> Tensor:
        return 5 * super().forward(inputs).clamp_max(1)


def test_features_of_which_each_suffices() -> None:
    kind = scenario("saturation")
    patches = torch.zeros(1, 2, 3, 4, 4).double()
    patches[:, :, 0] = 1
    _, _, references, places = given(kind, 1)
    found = stage(kind, Saturating()).certify(patches, torch.zeros(1, 1).long(), 0 * references, places)
    assert found.holds.item()
    assert found.reach.tolist() == [[1, 1]]


@pytest.mark.parametrize("effect", [0.0, -1.0])
def test_without_an_effect_nothing_holds(effect: float) -> None:
    """Although the change is zero, and the class has the softmax that it needs."""
    for name in ("null", "single", "double"):
        kind = scenario(name)
        made = flat(kind, effect=effect)
        assert torch.isinf(certificate(made, kind).median).all()
        assert not certificate(made, kind).holds.any()
    kind = scenario("saturation")
    assert not certificate(flat(kind, effect=effect, whole=effect), kind).holds.any()


def flat(
    kind: Scenario,
    *,
    change: list[float] | float = 0.0,
    effect: float = 2.0,
    softmax: list[float] | float = 0.99,
    whole: float = 2.0,
    draws: int = 11,
) -> Outcome:
    """An outcome of one sample, of so many draws; lists are by draw."""

    def column(value: list[float] | float, width: int) -> Tensor:
        rows = torch.tensor(value if isinstance(value, list) else [value] * draws).double()
        return rows[None, :, None].expand(1, -1, width)

    changes = column(change, len(kind.changes))
    return Outcome(
        own=column(softmax, kind.features).log(),
        logit=column(effect + 1, kind.features),
        effect=column(effect, kind.features),
        larger=changes + 7,
        smaller=torch.full_like(changes, 7.0),
        whole=column(whole, 1).squeeze(2),
    )


def spread(common: float, rare: float, count: int) -> list[float]:
    return [rare] * count + [common] * (11 - count)


NULL, SATURATION = scenario("null"), scenario("saturation")


@pytest.mark.parametrize(
    ("made", "holds"),
    [
        # The median: 0.07 of an effect of 2.
        (flat(NULL, change=0.1399), True),
        (flat(NULL, change=0.1401), False),
        (flat(NULL, change=-0.1401), False),
        # The ninetieth percentile: 0.15 of the same. Of eleven draws it is the second largest.
        (flat(NULL, change=spread(0, 0.2999, 2)), True),
        (flat(NULL, change=spread(0, 0.3001, 2)), False),
        (flat(NULL, change=spread(0, 9, 1)), True),
        # The softmax: the tenth percentile. Of eleven draws it is the second smallest.
        (flat(NULL, softmax=0.9401), True),
        (flat(NULL, softmax=0.9399), False),
        (flat(NULL, softmax=spread(0.99, 0.01, 1)), True),
        (flat(NULL, softmax=spread(0.99, 0.9401, 2)), True),
        (flat(NULL, softmax=spread(0.99, 0.9399, 2)), False),
        # What each reaches of the effect of all: 2 of 2.15 is 0.9302, of 2.152 it is 0.9294.
        (flat(SATURATION, whole=2.15), True),
        (flat(SATURATION, whole=2.152), False),
        (flat(SATURATION, whole=-2.0), False),
    ],
)
def test_each_bound(made: Outcome, holds: bool) -> None:
    kind = NULL if made.larger.shape[2] == 2 and made.whole[0, 0] == 2 else SATURATION
    found = certificate(made, kind)
    assert found.holds.tolist() == [holds]
    assert found[torch.tensor([0, 0])].holds.tolist() == [holds, holds]


def test_a_margin_narrows_every_bound() -> None:
    at_half = [
        (flat(NULL, change=0.0699), flat(NULL, change=0.0701)),
        (flat(NULL, change=spread(0, 0.1499, 2)), flat(NULL, change=spread(0, 0.1501, 2))),
        (flat(NULL, softmax=0.9701), flat(NULL, softmax=0.9699)),
    ]
    for inside, outside in at_half:
        assert certificate(inside, NULL).within(0.5).item()
        assert not certificate(outside, NULL).within(0.5).item()
        assert certificate(outside, NULL).holds.item()
    assert certificate(flat(SATURATION, whole=2.07), SATURATION).within(0.5).item()
    assert not certificate(flat(SATURATION, whole=2.08), SATURATION).within(0.5).item()


@pytest.mark.parametrize(
    ("asked", "common", "rare"), [("change", 0.0, 0.15), ("change", 0.0, 0.35), ("softmax", 0.99, 0.9)]
)
def test_what_is_asked_of_nearly_all_draws(asked: str, common: float, rare: float) -> None:
    """Of 48, so many changes may be beyond the median's bound; one beyond the ninetieth's; one softmax."""
    most = 14 if rare == 0.15 else 1
    for count, holds in ((most, True), (most + 1, False)):
        values = [rare] * count + [common] * (48 - count)
        made = flat(NULL, draws=48, **{asked: values})  # type: ignore[arg-type]
        assert certificate(made, NULL, SURE).holds.item() is holds
        assert certificate(made, NULL).holds.item()


def test_what_is_sure_is_found_again() -> None:
    """Chances of 0.3 and of 0.03 that a draw is beyond a bound, in certificates on DRAWS draws."""
    for level, asked in zip((SURE.median, SURE.ninetieth), (ASKED.median, ASKED.ninetieth), strict=True):
        beyond = DRAWS - math.ceil(asked * (DRAWS - 1))
        chance = sum(
            math.comb(DRAWS, k) * (1 - level) ** k * level ** (DRAWS - k) for k in range(beyond, DRAWS + 1)
        )
        assert chance < 0.001


@pytest.mark.parametrize("name", [one.name for one in fields(Outcome)])
def test_what_is_not_a_number_never_holds(name: str) -> None:
    for kind in (NULL, SATURATION):
        made = flat(kind)
        spoilt = getattr(made, name).clone()
        spoilt[:, 3:] = torch.nan
        found = certificate(Outcome(**{**vars(made), name: spoilt}), kind)
        unused = name == "logit" or (name == "whole" and not kind.saturating)
        assert found.holds.item() is unused


def test_unit_is_the_smallest_contribution() -> None:
    effect = torch.tensor([[[3.0, 1.0], [2.0, 5.0]]])
    assert unit(effect, scenario("null")).tolist() == [[3, 2]]
    assert unit(effect, scenario("double")).tolist() == [[1, 2]]


def sizes_seen(made: Stage) -> list[int]:
    seen: list[int] = []
    made.probe  # noqa: B018  # its own passes do not count
    made.model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    return seen


@pytest.mark.parametrize("memory", [1, 300_000, 2_000_000])
def test_chunks_do_not_change_a_certificate(memory: int) -> None:
    kind = scenario("double")
    data = given(kind, count=7)
    whole, small = stage(kind), stage(kind, memory=memory)
    seen = sizes_seen(small)
    same(small.certify(*data), whole.certify(*data))
    assert sum(seen) == 4 * 7 * 5
    assert max(seen) <= max(1, FREED * memory // small.probe.bytes)
    assert (max(seen) >= 5) == (memory > 1)


class Cramped(nn.Module):
    """Runs out of memory on more than so many images."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.network, self.limit = network(), limit

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.limit:
            raise torch.cuda.OutOfMemoryError
        found: Tensor = self.network(inputs)
        return found


def test_out_of_memory_the_chunk_is_halved() -> None:
    kind = scenario("double")
    data = given(kind, count=9)
    cramped = stage(kind, Cramped(10))
    same(cramped.certify(*data), stage(kind).certify(*data))
    seen = sizes_seen(cramped)
    cramped.certify(*data)
    assert max(seen) <= 10  # it is not tried again


def test_out_of_memory_with_a_single_sample() -> None:
    kind = scenario("double")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        stage(kind, Cramped(4)).certify(*given(kind))


def test_the_users_model_is_left_alone() -> None:
    model = network().train()
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    model.conv2.weight.requires_grad_(False)
    model.conv1.register_forward_hook(lambda *_: None)
    before = ModelState(model)
    kind = scenario("double")
    made = stage(kind, model)
    patches, *rest = given(kind)
    made.outcome(patches.requires_grad_(), *rest).effect.sum().backward()
    made.certify(patches.detach(), *rest)
    assert not any(before.differences().values())
    assert model.training
    assert not made.model.training
    assert all(parameter.grad is None for parameter in made.model.parameters())
    assert patches.grad is not None


class InPlace(nn.Module):
    """Overwrites what it is given, before and after the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()
        self.network.relu1.inplace = True

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.network(inputs.sub_(0.3).mul_(2))
        return found


class OutOfPlace(InPlace):
    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.network((inputs - 0.3) * 2)
        return found


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_model_that_works_in_place(layout: torch.memory_format) -> None:
    kind = scenario("double")
    data = given(kind)
    kept = copy.deepcopy(data)
    made, plain = stage(kind, InPlace()), stage(kind, OutOfPlace())
    assert made.probe == plain.probe
    assert not made.example.any()
    made.probe = Probe(made.probe.bytes, layout)
    same(made.certify(*data), plain.certify(*data))
    assert all(map(torch.equal, data, kept))
    gradients = []
    for one in (made, plain):
        patches = data[0].clone().requires_grad_()
        one.outcome(patches, *data[1:]).change.square().sum().backward()
        gradients.append(patches.grad)
    torch.testing.assert_close(*gradients)


def reached(
    data: Given, kind: Scenario, variants: list[Variant], read: Callable[[Outcome], Tensor]
) -> list[bool]:
    """Into which features a gradient goes."""
    patches = data[0].clone().requires_grad_()
    read(stage(kind).outcome(patches, *data[1:], variants)).sum().backward()
    assert patches.grad is not None
    return patches.grad.transpose(0, 1).flatten(1).ne(0).any(1).tolist()


def test_gradients_go_into_the_free_features() -> None:
    kind = scenario("double")
    data = given(kind)
    held: list[Variant] = [(0, 0), (1, 1), (2, 2), (3, 0), (3, 1), (3, 2)]
    # The changes are: output 0 by feature 1, in the empty image and beside feature 0; then the reverse.
    by_last = [
        reached(data, kind, held, lambda found, number=number: found.larger[..., number])  # type: ignore[misc]
        for number in range(4)
    ]
    assert by_last == [[False, True], [False, True], [True, False], [True, False]]
    every: list[Variant] = [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert reached(data, kind, every, lambda found: found.larger[..., 1]) == [True, True]
    assert reached(data, kind, every, lambda found: found.effect[..., 0]) == [True, False]
    with pytest.raises(RuntimeError, match="does not require grad"):
        reached(data, kind, held, lambda found: found.whole)


def test_the_probability_of_a_label_is_its_own_sigmoid() -> None:
    """That of a class is beside all others."""
    kind = scenario("double")
    made = given(kind)
    classes = stage(kind).outcome(*made)
    labels = replace(stage(kind), output=Labels()).outcome(*made)
    torch.testing.assert_close(labels.own, labels.logit.sigmoid().log())
    assert torch.equal(labels.logit, classes.logit)
    assert bool((classes.own < 0).all())
    assert not torch.allclose(labels.own, classes.own)
