import math
import statistics

import pytest
import torch
from torch import Tensor

from xattr_check.generation.explain import Reason, reasons, render_misses, requirements
from xattr_check.generation.scenarios import SCENARIOS, Scenario, scenario

CASES = [("null", 2), ("null", 3), ("double", 2), ("double", 4), ("single", 1), ("saturation", 2)]
CASES += [("saturation", 3), ("synergy", 3), ("suppression", 2), ("graded", 2)]


def test_requirements_are_named() -> None:
    own = "the probability of the class that {} makes alone"
    assert requirements(scenario("null")) == [
        own.format("a"),
        own.format("b"),
        "what b alone does to output a",
        "what b beside a does to output a",
    ]
    assert requirements(scenario("single")) == [own.format("a"), "what a alone does to output b"]
    assert requirements(scenario("saturation")) == [
        own.format("a"),
        own.format("b"),
        "what a beside b does to output a",
        "what b beside a does to output a",
    ]
    assert requirements(scenario("null", 3))[-2:] == [
        "what c beside b does to output a",
        "what c beside a and b does to output a",
    ]
    assert requirements(scenario("synergy")) == [
        "the probability of the class that a and b make together",
        "what a alone does to output a",
        "what b alone does to output a",
    ]
    assert requirements(scenario("suppression")) == [
        own.format("a"),
        "how far what b alone does to output a is from -0.50 of the effect",
        "how far what b beside a does to output a is from -0.50 of the effect",
    ]


def required(kind: Scenario, number: int) -> str:
    """The name of a requirement, class by class and change by change."""
    if number < len(kind.made):
        makers = [letter for feature, letter in enumerate("abcd") if kind.made[number][0] >> feature & 1]
        how = "make together" if makers[1:] else "makes alone"
        return f"the probability of the class that {' and '.join(makers)} {how}"
    change = kind.changes[number - len(kind.made)]
    beside = [letter for feature, letter in enumerate("abcd") if change.smaller >> feature & 1]
    where = f"beside {' and '.join(beside)}" if beside else "alone"
    does = f"what {'abcd'[change.feature]} {where} does to output {'abcd'[change.output]}"
    return f"how far {does} is from {change.share:.2f} of the effect" if change.share else does


def planted(kind: Scenario, count: int, seed: int) -> Tensor:
    """Figures at random, near what is asked and far from it."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.rand(count, len(kind.made), generator=generator) ** 0.1
    change = torch.rand(count, len(kind.changes), generator=generator).exp() - 1
    return torch.cat([own, change], 1)


def by_hand(misses: list[list[float]], kind: Scenario) -> list[tuple[str, int, float]]:
    """The requirement that each sample fails by most, how often, and the median of its figure."""
    known = [row for row in misses if all(map(math.isfinite, row))]
    worst = []
    for row in known:
        far = [
            -math.log(value) / 0.02 if number < len(kind.made) else value / 0.04
            for number, value in enumerate(row)
        ]
        worst.append(far.index(max(far)))
    found = [
        (required(kind, number), worst.count(number), statistics.median(row[number] for row in known))
        for number in sorted(set(worst))
    ]
    return sorted(found, key=lambda one: -one[1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "features"), CASES)
def test_reasons_agree_with_what_is_counted_by_hand(name: str, features: int, seed: int) -> None:
    kind = scenario(name, features)
    misses = planted(kind, 33, seed)
    misses[5, 0], misses[7, -1] = torch.nan, torch.inf  # of these nothing is known
    found = reasons(misses, kind)
    expected = by_hand(misses.tolist(), kind)
    assert [(one.name, one.samples) for one in found] == [(name, count) for name, count, _ in expected]
    assert [one.figure for one in found] == pytest.approx([figure for _, _, figure in expected], rel=1e-5)
    assert sum(one.samples for one in found) == 31
    for one in found:
        assert one.probability is one.name.startswith("the probability")
        # What is normal has its 90th percentile, 0.15 at most, at 1.645 root mean squares.
        assert one.bound == pytest.approx(math.exp(-0.02) if one.probability else 0.15 / 1.645)


def rows(kind: Scenario, *failing: tuple[int, float]) -> Tensor:
    """Figures of samples, each of which fails one requirement alone."""
    found = torch.tensor([0.99] * len(kind.made) + [0.01] * len(kind.changes)).repeat(len(failing), 1)
    for row, (number, figure) in enumerate(failing):
        found[row, number] = figure
    return found


def test_what_is_told_of_a_change() -> None:
    kind = scenario("null")
    misses = rows(kind, (3, 0.5), (3, 0.3), (3, 0.4), (0, 0.2))
    assert render_misses(misses, kind) == (
        "for 3 of the 4 left it is what b beside a does to output a that stands in the way: it comes to "
        "0.35 of the effect and may be about 0.09"
    )
    first, second = reasons(misses, kind)
    figure = float(misses[:, 3].quantile(0.5))
    assert first == Reason("what b beside a does to output a", 3, figure, 0.15 / 1.645, False)
    assert second.name == "the probability of the class that a makes alone"
    assert second.samples == 1


def test_what_is_told_of_a_probability() -> None:
    kind = scenario("saturation")
    misses = rows(kind, (1, 0.4), (1, 0.6), (1, 0.5), (2, 0.2), (2, torch.nan))
    assert render_misses(misses[[0, 1, 2, 4]], kind) == (
        "for 3 of the 3 left it is the probability of the class that b makes alone that stands in the way: "
        "it is 0.50 on average and has to be about 0.98"
    )


def test_what_is_told_of_what_adds_up() -> None:
    """Of two features each of which has the whole effect, the second adds as much as the first."""
    kind = scenario("saturation")
    assert render_misses(rows(kind, (2, 1.0), (2, 0.9), (2, 1.1)), kind) == (
        "for 3 of the 3 left it is what a beside b does to output a that stands in the way: it comes to "
        "1.00 of the effect and may be about 0.09, since what the patches do adds up"
    )


def test_what_is_told_of_what_adds_up_where_it_should_take_both() -> None:
    """Either of two features has half of what both do."""
    kind = scenario("synergy")
    told = "for 2 of the 2 left it is what a alone does to output a that stands in the way: it comes to "
    near = render_misses(rows(kind, (1, 0.2), (1, 0.2)), kind)
    assert near == told + "0.20 of the effect and may be about 0.09"
    adding = render_misses(rows(kind, (1, 0.48), (1, 0.48)), kind)
    assert adding == told + "0.48 of the effect and may be about 0.09, since what the patches do adds up"


def test_what_is_told_of_what_is_near() -> None:
    """It does not add up, and on average it is within the bound: some draws are not."""
    kind = scenario("saturation")
    assert render_misses(rows(kind, (2, 0.07), (2, 0.07)), kind) == (
        "for 2 of the 2 left it is what a beside b does to output a that stands in the way: it comes to "
        "0.07 of the effect and may be about 0.09, so that it is some draws that fail, "
        "and more steps may help"
    )
    assert render_misses(rows(kind, (2, 0.2)), kind).endswith("may be about 0.09")


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_known_of_what_is_not_a_number(name: str) -> None:
    kind = scenario(name)
    misses = planted(kind, 5, 0) * torch.nan
    assert reasons(misses, kind) == []
    assert render_misses(misses, kind) == "their outputs are not finite numbers"
    assert reasons(misses[:0], kind) == []


def test_a_probability_of_zero_stands_in_the_way_of_all() -> None:
    kind = scenario("single")
    (one,) = reasons(rows(kind, (0, 0.0), (0, 0.0)), kind)
    assert (one.name, one.figure) == ("the probability of the class that a makes alone", 0.0)
