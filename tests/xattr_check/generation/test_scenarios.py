from itertools import combinations, permutations

import pytest

from xattr_check import UsageError
from xattr_check.generation.scenarios import SCENARIOS, Scenario, scenario

SIZES = [("null", n) for n in (2, 3, 4)] + [("double", n) for n in (2, 3, 4)] + [("single", 1)]
SIZES += [("saturation", n) for n in (2, 3, 4)] + [("synergy", n) for n in (2, 3, 4)]
SIZES += [("suppression", 2), ("graded", 2), ("exchange", 2)]
# Where a feature has to change an output, by so much of the contributing effect.
SHARES = {"suppression": -0.5, "graded": 0.4}


def subsets(features: list[int]) -> list[tuple[int, ...]]:
    return [one for size in range(len(features) + 1) for one in combinations(features, size)]


def forbidden(name: str, features: int) -> set[tuple[int, int, frozenset[int]]]:
    """(output, feature that joins, coalition it joins), from the definitions in words."""
    found = set()
    for feature in range(features):
        for coalition in subsets([other for other in range(features) if other != feature]):
            outputs = {
                # Nobody but the first may change the first output.
                "null": [0] if feature > 0 else [],
                "exchange": [0] if feature > 0 else [],
                # Each may change its own output alone.
                "double": [output for output in range(features) if output != feature],
                "single": [1],
                # All make one output, which an empty image does not have yet.
                "saturation": [0] if coalition else [],
                # None does anything to the one output before all are there.
                "synergy": [0] if len(coalition) < features - 1 else [],
                # The second adds its share to the first one's output, in whatever company.
                "suppression": [0] if feature else [],
                "graded": [0] if feature else [],
            }[name]
            found |= {(output, feature, frozenset(coalition)) for output in outputs}
    return found


def members(bits: int) -> frozenset[int]:
    return frozenset(feature for feature in range(8) if bits >> feature & 1)


@pytest.mark.parametrize(("name", "features"), SIZES)
def test_forbidden_changes_agree_with_brute_force(name: str, features: int) -> None:
    made = scenario(name, features)
    found = [(change.output, change.feature, members(change.smaller)) for change in made.changes]
    assert len(found) == len(set(found))
    assert set(found) == forbidden(name, features)
    for change in made.changes:
        assert members(change.larger) == members(change.smaller) | {change.feature}
        assert change.share == SHARES.get(name, 0.0)
    assert made.features == features
    assert made.coalitions == 2**features


@pytest.mark.parametrize(("name", "features"), SIZES)
def test_outputs_are_classes_of_the_sample(name: str, features: int) -> None:
    made = scenario(name, features)
    outputs = {change.output for change in made.changes} | {output for _, output in made.made}
    assert outputs == set(range(made.watched))
    assert outputs | set(made.makes) == set(range(made.classes))
    assert set(made.contributing) <= set(range(len(made.made)))
    assert len(made.worth) == features
    assert made.requirements == len(made.made) + len(made.changes)


@pytest.mark.parametrize(
    ("name", "features", "makes", "classes", "contributing", "saturating"),
    [
        ("null", 2, (0, 1), 2, (0,), False),
        ("double", 2, (0, 1), 2, (0, 1), False),
        ("single", 1, (0,), 2, (0,), False),
        ("saturation", 2, (0, 0), 1, (0, 1), True),
        ("synergy", 2, (0, 0), 1, (0,), False),
        ("suppression", 2, (0, 1), 2, (0,), False),
        ("graded", 2, (0, 1), 2, (0,), False),
    ],
)
def test_as_published(
    name: str,
    features: int,
    makes: tuple[int, ...],
    classes: int,
    contributing: tuple[int, ...],
    saturating: bool,
) -> None:
    made = scenario(name)
    assert made == scenario(name, features)
    found = (made.makes, made.classes, made.contributing, made.saturating)
    assert found == (makes, classes, contributing, saturating)


@pytest.mark.parametrize(
    ("name", "features", "message"),
    [
        ("triple", None, f"scenario 'triple': expected one of {', '.join(SCENARIOS)}"),
        ("null", 1, "scenario 'null': expected 2 to 4 features, came 1"),
        ("double", 5, "scenario 'double': expected 2 to 4 features, came 5"),
        ("saturation", 0, "scenario 'saturation': expected 2 to 4 features, came 0"),
        ("single", 2, "scenario 'single': expected 1 feature, came 2"),
        ("graded", 3, "scenario 'graded': expected 2 features, came 3"),
    ],
)
def test_mistakes(name: str, features: int | None, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        scenario(name, features)
    assert str(raised.value) == message


def test_a_scenario_of_ones_own() -> None:
    """Two features for one output, of which the second must do nothing where the first is."""
    made = Scenario("own", (0, 0), 1, ((1, 0), (2, 0)), ((0, 1, 0.0),), (0,), (1.0, 1.0), saturating=True)
    assert [(change.larger, change.smaller) for change in made.changes] == [(3, 1)]


@pytest.mark.parametrize(("name", "features"), SIZES)
def test_what_is_made(name: str, features: int) -> None:
    """Each feature alone makes its class, but where they do it together, or the second one none."""
    made = scenario(name, features).made
    if name == "synergy":
        assert made == ((2**features - 1, 0),)
    elif name in SHARES:
        assert made == ((1, 0),)
    else:
        assert made == tuple((2**f, output) for f, output in enumerate(scenario(name, features).makes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("single", {}),
        ("null", {(1, 0): 1.0, (3, 2): 1.0}),
        ("double", {(1, 0): 1.0, (3, 2): 1.0}),
        ("saturation", {(1, 0): 1.0, (2, 0): 1.0}),
        ("synergy", {(3, 1): 1.0, (3, 2): 1.0}),
        ("suppression", {(1, 0): 1.0, (3, 2): 1.0}),
        ("graded", {(1, 0): 1.0, (3, 2): 1.0}),
    ],
)
def test_worth_is_the_shapley_value(name: str, changes: dict[tuple[int, int], float]) -> None:
    """Of the game on the first output that the changes describe, and of what is made, by the largest."""
    made = scenario(name)
    value = {0: 0.0} | ({1: 1.0} if name == "single" else {})
    steps = {(one.larger, one.smaller): one.share for one in made.changes if one.output == 0} | changes
    while len(value) < made.coalitions:
        for (larger, smaller), share in steps.items():
            if smaller in value:
                value.setdefault(larger, value[smaller] + share)
    shapley = []
    for feature in range(made.features):
        orders = list(permutations(range(made.features)))
        before = [sum(1 << one for one in order[: order.index(feature)]) for order in orders]
        shapley.append(sum(value[one | 1 << feature] - value[one] for one in before) / len(orders))
    assert [one / max(shapley) for one in shapley] == pytest.approx(made.worth)
