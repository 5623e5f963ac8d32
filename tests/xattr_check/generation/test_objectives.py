import math
from itertools import product

import pytest
import torch
from features import Bent, Given, given, network
from torch import Tensor, nn

from xattr_check.generation.certify import Outcome, Stage, Variant
from xattr_check.generation.objectives import OBJECTIVES, Constrained, Dynamic, Objective, ratios
from xattr_check.generation.scenarios import Scenario, scenario

KINDS = [("null", 2), ("null", 3), ("double", 2), ("double", 3), ("single", 1), ("saturation", 2)]
KINDS += [("saturation", 3), ("synergy", 2), ("synergy", 3), ("suppression", 2), ("graded", 2)]
LATE = torch.tensor([1000])  # past every warm-up


def stage(kind: Scenario, model: nn.Module) -> Stage:
    return Stage(model, torch.zeros(2, 3, 12, 12).double(), kind, 2**30)


def losses(
    objective: Objective, kind: Scenario, data: Given, averages: Tensor | None, steps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (n,), averages (n, T) and the gradient (n, F, C, side, side)."""
    patches = data[0].clone().requires_grad_()
    outcome = stage(kind, network()).outcome(patches, *data[1:], objective.variants(kind))
    loss, averages = objective.loss(outcome, kind, averages, steps.expand(len(patches)))
    (gradient,) = torch.autograd.grad(loss.sum(), patches)
    return loss.detach(), averages.detach(), gradient


def rows(data: Given, which: Tensor) -> Given:
    patches, classes, references, places = data
    return patches[which], classes[which], references[which], places[which]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("scenario_name", "features"), KINDS)
def test_samples_do_not_act_on_each_other(name: str, scenario_name: str, features: int) -> None:
    kind, objective = scenario(scenario_name, features), OBJECTIVES[name]
    data = given(kind, count=4)
    _, averages, _ = losses(objective, kind, given(kind, count=4, seed=1), None, torch.tensor([0]))
    averages[3] = torch.nan  # its attempt has just begun
    for steps in (torch.zeros(4), LATE.repeat(4), torch.tensor([1000, 0, 250, 0])):
        whole = losses(objective, kind, data, averages, steps)
        for which in (torch.tensor([2]), torch.tensor([3, 0])):
            part = losses(objective, kind, rows(data, which), averages[which], steps[which])
            for one, other in zip(part, whole, strict=True):
                torch.testing.assert_close(one, other[which])
        moved = whole[2].flatten(2).ne(0).any(2)
        # What makes no class has to wait for what does.
        makers = [any(coalition >> f & 1 for coalition, _ in kind.made) for f in range(features)]
        assert moved[:, makers].all()
        assert moved[steps == LATE].all()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("scenario_name", "features"), KINDS)
def test_variants_hold_all_that_an_outcome_asks_for(name: str, scenario_name: str, features: int) -> None:
    kind = scenario(scenario_name, features)
    variants = OBJECTIVES[name].variants(kind)
    assert len(variants) == len(set(variants))
    assert {coalition for coalition, _ in variants} >= {0, *(change.larger for change in kind.changes)}
    assert all(free & ~coalition == 0 for coalition, free in variants)
    data = given(kind)
    made = stage(kind, network())
    with torch.no_grad():
        found, plain = made.outcome(*data, variants), made.outcome(*data)
    for key, value in vars(plain).items():
        torch.testing.assert_close(getattr(found, key), value)


@pytest.mark.parametrize(
    ("name", "features", "variants"),
    [
        ("null", 2, [(0, 0), (1, 1), (2, 2), (3, 2)]),
        ("double", 2, [(0, 0), (1, 1), (2, 2), (3, 1), (3, 2)]),
        ("single", 1, [(0, 0), (1, 1)]),
        ("saturation", 2, [(0, 0), (1, 1), (2, 2), (3, 1), (3, 2)]),
        ("synergy", 2, [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ("suppression", 2, [(0, 0), (1, 1), (2, 2), (3, 2)]),
        (
            "null", 3,
            [(0, 0), (1, 1), (2, 2), (3, 0), (3, 2), (4, 4), (5, 0), (5, 4), (6, 2), (6, 4), (7, 2), (7, 4)],
        ),
    ],
)  # fmt: skip
def test_dynamic_frees_the_feature_that_joins(name: str, features: int, variants: list[Variant]) -> None:
    assert Dynamic().variants(scenario(name, features)) == variants


@pytest.mark.parametrize(("name", "features"), KINDS)
def test_dynamic_reaches_only_the_feature_that_joins(name: str, features: int) -> None:
    """The gradient of a forbidden change, term by term."""
    kind, objective = scenario(name, features), Dynamic()
    data = given(kind)
    for number, change in enumerate(kind.changes):
        patches = data[0].clone().requires_grad_()
        outcome = stage(kind, network()).outcome(patches, *data[1:], objective.variants(kind))
        term = (outcome.larger - outcome.smaller.detach())[..., number].square().sum()
        (gradient,) = torch.autograd.grad(term, patches)
        reached = gradient.transpose(0, 1).flatten(1).ne(0).any(1).tolist()
        assert reached == [feature == change.feature for feature in range(features)]


def test_dynamic_does_not_move_the_contributing_feature_for_the_null_one() -> None:
    """In `null`, f_a sees its own cross-entropy alone, whatever f_b does."""
    kind, objective = scenario("null"), Dynamic()
    data = given(kind)
    other = data[0].clone()
    other[:, 1] += 1
    one = losses(objective, kind, data, None, LATE)[2]
    two = losses(objective, kind, (other, *data[1:]), None, LATE)[2]
    torch.testing.assert_close(one[:, 0], two[:, 0])
    assert not torch.allclose(one[:, 1], two[:, 1])


def outcome(own: list[float], logit: list[float], larger: list[float], smaller: list[float]) -> Outcome:
    """Of one sample and one draw; own as probabilities. Every tensor is a leaf."""

    def leaf(values: list[float]) -> Tensor:
        return torch.tensor([[values]], dtype=torch.float64).requires_grad_()

    probabilities = torch.tensor([[own]], dtype=torch.float64).log().requires_grad_()
    effect = leaf([value - 1 for value in logit])
    return Outcome(probabilities, leaf(logit), effect, leaf(larger), leaf(smaller), leaf([9.0])[0])


def focal(key: float) -> float:
    return -((1 - key) ** 0.8) * math.log(key)


def test_dynamic_keys_and_weights_by_hand() -> None:
    """Eq. 12 and 13: softmax and tanh(|Δ| / min), averaged into ½ by a tenth."""
    kind = scenario("double")
    made = outcome([0.8, 0.3], [4.0, 2.0], [1.5, -2.0, 1.1, 6.0], [1.0, 1.0, 1.0, 5.0])
    loss, averages = Dynamic().loss(made, kind, None, LATE)
    ratios = [0.5 / 1.0, 3.0 / 1.0, 0.1 / 1.0, 1.0 / 5.0]
    keys = [0.8, 0.3, *map(math.tanh, ratios)]
    kappa = [0.9 * 0.5 + 0.1 * key for key in keys]
    assert averages[0, :6].tolist() == pytest.approx(kappa)
    expected = -10 * (focal(kappa[0]) * 4.0 + focal(kappa[1]) * 2.0)
    changes = [0.5, -3.0, 0.1, 1.0]
    expected += 5 * sum(focal(1 - k) * change**2 for k, change in zip(kappa[2:], changes, strict=True))
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert made.smaller.grad is None  # what is subtracted is held
    assert made.larger.grad is not None
    assert made.larger.grad.flatten().tolist() == pytest.approx(
        [10 * focal(1 - k) * change for k, change in zip(kappa[2:], changes, strict=True)]
    )
    assert made.logit.grad is not None
    assert made.logit.grad.flatten().tolist() == pytest.approx([-10 * focal(k) for k in kappa[:2]])
    _, again = Dynamic().loss(made, kind, averages, LATE)
    assert again[0, :6].tolist() == pytest.approx(
        [0.9 * k + 0.1 * key for k, key in zip(kappa, keys, strict=True)]
    )
    assert torch.equal(again[:, 6:], averages[:, 6:])  # those of the same outcome


def test_dynamic_holds_the_contributing_feature_at_its_softmax() -> None:
    kind, kept = scenario("null"), []
    for probability in (0.90, 0.95, 0.99):
        made = outcome([probability, 0.3], [4.0, 2.0], [1.5, 1.2], [1.0, 1.1])
        loss, averages = Dynamic().loss(made, kind, None, LATE)
        cross_entropy = -0.95 * math.log(probability) - 0.05 * math.log(1 - probability)
        kappa = averages[0, :4].tolist()
        expected = 10 * cross_entropy - 10 * focal(kappa[1]) * 2.0
        expected += 5 * (focal(1 - kappa[2]) * 0.25 + focal(1 - kappa[3]) * 0.01)
        assert loss.item() == pytest.approx(expected)
        loss.backward()
        assert made.own.grad is not None
        kept.append(made.own.grad[0, 0, 0].item())
        assert made.logit.grad is not None
        assert made.logit.grad[0, 0, 0] == 0
    assert kept[0] < -0.1  # upwards
    assert kept[1] == pytest.approx(0, abs=1e-9)
    assert kept[2] > 0.1  # downwards


@pytest.mark.parametrize(("name", "warm_up"), [("double", 300), ("saturation", 200)])
def test_dynamic_warms_up_on_the_bare_logits(name: str, warm_up: int) -> None:
    made = outcome([0.8, 0.3], [4.0, 2.0], [1.5] * 4, [1.0] * 4)
    kind = scenario(name)
    if name == "saturation":
        made = outcome([0.8, 0.3], [4.0, 2.0], [1.5] * 2, [1.0] * 2)
    before, _ = Dynamic().loss(made, kind, None, torch.tensor([warm_up - 1]))
    after, _ = Dynamic().loss(made, kind, None, torch.tensor([warm_up]))
    assert before.item() == pytest.approx(-30)
    assert after.item() != pytest.approx(-30)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_overflows(name: str) -> None:
    kind = scenario("null")
    for probability, change in product((1e-300, 1e-9, 0.5, 1.0), (0.0, 1e-12, 50.0)):
        made = outcome([probability] * 2, [4.0, 2.0], [change, 5 + change], [0.0, 5.0])
        loss, averages = OBJECTIVES[name].loss(made, kind, None, LATE)
        loss, _ = OBJECTIVES[name].loss(made, kind, averages, LATE)
        loss.backward()
        assert torch.isfinite(loss).all(), (probability, change)
        for tensor in (made.own, made.logit, made.effect, made.larger, made.smaller):
            assert tensor.grad is None or torch.isfinite(tensor.grad).all(), (probability, change)


def test_constrained_gradient_by_hand() -> None:
    """Each requirement's logarithm, weighted by its ratio to its bound."""
    kind = scenario("double")
    made = outcome([0.8, 0.97], [6.0, 5.0], [1.5, -2.0, 1.1, 6.0], [1.0, 1.0, 1.0, 5.0])
    effects, changes = [5.0, 4.0], [0.5, -3.0, 0.1, 1.0]
    loss, averages = Constrained().loss(made, kind, None, LATE)
    own = [-math.log(0.8), -math.log(0.97)]
    assert averages[0].tolist() == pytest.approx([*own, *(change**2 for change in changes), *effects])
    # The unit is the smaller effect, of feature b.
    ratios = [one / 0.02 for one in own] + [abs(change) / 4.0 / 0.04 for change in changes]
    weights = [ratio / sum(ratios) for ratio in ratios]
    loss.backward()
    assert made.own.grad is not None
    assert made.larger.grad is not None
    assert made.smaller.grad is not None
    assert made.effect.grad is not None
    # d log(own), d log |change|, −d log(effect).
    assert made.own.grad.flatten().tolist() == pytest.approx(
        [-weights[number] / own[number] for number in range(2)]
    )
    by_change = [weight / change for weight, change in zip(weights[2:], changes, strict=True)]
    assert made.larger.grad.flatten().tolist() == pytest.approx(by_change)
    assert made.smaller.grad.flatten().tolist() == pytest.approx([-one for one in by_change])
    assert made.effect.grad.flatten().tolist() == pytest.approx([0, -sum(weights[2:]) / 4.0])


def test_constrained_averages_are_running() -> None:
    kind = scenario("single")
    first = outcome([0.8], [6.0], [1.5], [1.0])
    second = outcome([0.4], [3.0], [2.0], [1.0])
    _, averages = Constrained().loss(first, kind, None, torch.tensor([0]))
    _, averages = Constrained().loss(second, kind, averages, torch.tensor([1]))
    expected = [
        0.9 * -math.log(0.8) + 0.1 * -math.log(0.4), 0.9 * 0.25 + 0.1 * 1.0, 0.9 * 5.0 + 0.1 * 2.0,
    ]  # fmt: skip
    assert averages[0].tolist() == pytest.approx(expected)


def test_constrained_warms_up_on_the_bare_effects() -> None:
    kind = scenario("null")
    made = outcome([0.8, 0.4], [6.0, 3.0], [1.5, 2.0], [1.0, 1.0])
    loss, _ = Constrained().loss(made, kind, None, torch.tensor([Constrained.warm_up - 1]))
    bare = -math.log(0.8) - math.log(0.4) - 5.0 / 10
    assert loss.item() == pytest.approx(bare)
    loss, _ = Constrained().loss(made, kind, None, torch.tensor([Constrained.warm_up]))
    assert loss.item() != pytest.approx(bare)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_averages_begin_anew_where_they_are_not_numbers(name: str) -> None:
    """Those of one sample, and as if it were the first step; the other's go on."""
    kind, objective = scenario("double"), OBJECTIVES[name]
    data = given(kind, count=2)
    _, before, _ = losses(objective, kind, given(kind, count=2, seed=1), None, LATE)
    _, first, _ = losses(objective, kind, data, None, LATE)
    _, going_on, _ = losses(objective, kind, data, before, LATE)
    before[1] = torch.nan
    _, found, _ = losses(objective, kind, data, before, LATE)
    assert torch.equal(found, torch.stack([going_on[0], first[1]]))
    assert not torch.allclose(first[0], going_on[0])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_figures_by_hand(name: str) -> None:
    """Probabilities, and changes by the smaller effect, 4; nothing is told of smaller effects than 1."""
    kind, objective = scenario("double"), OBJECTIVES[name]
    made = outcome([0.8, 0.3], [6.0, 5.0], [1.5, -2.0, 1.1, 6.0], [1.0, 1.0, 1.0, 5.0])
    _, averages = objective.loss(made, kind, None, LATE)
    found = objective.figures(averages, kind)
    assert found[0].tolist() == pytest.approx([0.8, 0.3, 0.5 / 4, 3.0 / 4, 0.1 / 4, 1.0 / 4])
    weak = outcome([0.8, 0.3], [1.5, 5.0], [1.5, -2.0, 1.1, 6.0], [1.0, 1.0, 1.0, 5.0])
    _, averages = objective.loss(weak, kind, None, LATE)
    assert objective.figures(averages, kind)[0, 2:].tolist() == pytest.approx([0.5, 3.0, 0.1, 1.0])
    assert objective.figures(averages * torch.nan, kind).isnan().all()


def test_figures_over_draws_and_steps() -> None:
    """The geometric mean of the probability and the root mean square of changes, over both."""
    kind = scenario("single")
    own = torch.tensor([[[0.9], [0.6]]], dtype=torch.float64).log()
    change = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64)
    effect = torch.full_like(change, 5.0)
    two = Outcome(own, effect, effect, change, 0 * change, effect[..., 0])
    _, averages = Constrained().loss(two, kind, None, LATE)
    expected = [math.sqrt(0.9 * 0.6), math.sqrt((1 + 4) / 2) / 5]
    assert Constrained().figures(averages, kind)[0].tolist() == pytest.approx(expected)
    _, averages = Constrained().loss(outcome([0.5], [6.0], [3.0], [0.0]), kind, averages, LATE)
    expected = [expected[0] ** 0.9 * 0.5**0.1, math.sqrt(0.9 * 2.5 + 0.1 * 9) / 5]
    assert Constrained().figures(averages, kind)[0].tolist() == pytest.approx(expected)


def test_ratios_to_what_is_aimed_at() -> None:
    kind = scenario("null")
    aimed = [math.exp(-0.02), math.exp(-0.02), 0.04, 0.04]
    assert ratios(torch.tensor([aimed]), kind)[0].tolist() == pytest.approx([1, 1, 1, 1], rel=1e-4)
    found = ratios(torch.tensor([[0.5, 1.0, 0.4, 0.0]]), kind)[0].tolist()
    assert found == pytest.approx([math.log(2) / 0.02, 0, 10, 0])
    assert ratios(torch.tensor([[0.0, 1.0, 0.1, 0.1]]), kind)[0, 0] == math.inf


def test_rates() -> None:
    """Of each sample by how far its own attempt is."""
    progress, taken = torch.tensor([0, 0.5, 0.75, 1]), torch.tensor([7, 7, 7, 7])
    found = Constrained().rate(progress, taken, 7)
    assert found.tolist() == pytest.approx([1, 0.505, 0.01 + 0.495 * (1 - math.sqrt(0.5)), 0.01])
    assert Dynamic().rate(progress, taken, 9).tolist() == [1, 1, 1, 1]
    one = nn.Parameter(torch.zeros(1))
    adam, rmsprop = (objective.optimizer([one], 3e-3) for objective in (Constrained(), Dynamic()))
    assert isinstance(adam, torch.optim.Adam)
    assert isinstance(rmsprop, torch.optim.RMSprop)
    assert adam.param_groups[0]["lr"] == 3e-3
    assert rmsprop.param_groups[0]["lr"] == pytest.approx(5e-3)  # the released rate, of a decoder


@pytest.mark.parametrize(
    ("name", "scenario_name"),
    [("constrained", name) for name in ("null", "double", "single", "saturation")]
    + [("dynamic", name) for name in ("null", "saturation")],
)
def test_violations_fall_on_a_toy_model(name: str, scenario_name: str) -> None:
    kind, objective = scenario(scenario_name), OBJECTIVES[name]
    made = stage(kind, Bent(200))
    _, _, references, places = given(kind, count=4, draws=8)
    references = 0.1 * references
    classes = torch.tensor([[0, 1], [1, 2], [2, 0], [1, 0]])[:, : kind.classes]
    raw = torch.zeros(4, kind.features, 3, 4, 4, dtype=torch.float64).requires_grad_()

    def certified() -> float:
        found = made.certify(raw.detach().tanh(), classes, references, places)
        worst = found.median.amax(1) / 0.07, (1 - found.softmax).amax(1) / 0.06
        return float(torch.maximum(*worst).clamp_max(1e6).mean())

    assert certified() > 1000
    optimizer = torch.optim.Adam([raw], lr=0.05)
    averages = None
    for step in range(150) if name == "constrained" else range(150, 400):
        outcome = made.outcome(raw.tanh(), classes, references, places, objective.variants(kind))
        loss, averages = objective.loss(outcome, kind, averages, torch.full((4,), step))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    assert certified() < 1
