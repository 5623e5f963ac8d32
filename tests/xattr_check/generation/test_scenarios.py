from itertools import combinations

import pytest

from xattr_check import UsageError
from xattr_check.generation.scenarios import Scenario, scenario

SIZES = [("null", n) for n in (2, 3, 4)] + [("double", n) for n in (2, 3, 4)] + [("single", 1)]
SIZES += [("saturation", n) for n in (2, 3, 4)]


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
                # Each may change its own output alone.
                "double": [output for output in range(features) if output != feature],
                "single": [1],
                # All make one output, which an empty image does not have yet.
                "saturation": [0] if coalition else [],
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
    assert made.features == features
    assert made.coalitions == 2**features


@pytest.mark.parametrize(("name", "features"), SIZES)
def test_outputs_are_classes_of_the_sample(name: str, features: int) -> None:
    made = scenario(name, features)
    outputs = {change.output for change in made.changes} | set(made.makes)
    assert outputs == set(range(made.classes))
    assert set(made.contributing) <= set(range(features))


@pytest.mark.parametrize(
    ("name", "features", "makes", "classes", "contributing", "saturating"),
    [
        ("null", 2, (0, 1), 2, (0,), False),
        ("double", 2, (0, 1), 2, (0, 1), False),
        ("single", 1, (0,), 2, (0,), False),
        ("saturation", 2, (0, 0), 1, (0, 1), True),
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
        ("triple", None, "scenario 'triple': expected one of null, double, single, saturation"),
        ("null", 1, "scenario 'null': expected 2 to 4 features, came 1"),
        ("double", 5, "scenario 'double': expected 2 to 4 features, came 5"),
        ("saturation", 0, "scenario 'saturation': expected 2 to 4 features, came 0"),
        ("single", 2, "scenario 'single': expected 1 feature, came 2"),
    ],
)
def test_mistakes(name: str, features: int | None, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        scenario(name, features)
    assert str(raised.value) == message


def test_a_scenario_of_ones_own() -> None:
    """Two features for one output, of which the second must do nothing where the first is."""
    made = Scenario("own", (0, 0), 1, ((0, 1),), (0,), saturating=True)
    assert [(change.larger, change.smaller) for change in made.changes] == [(3, 1)]
