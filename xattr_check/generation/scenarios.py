"""Scenarios: what generated features must and must not do to a model's outputs, in every coalition."""

from dataclasses import dataclass, replace
from functools import cached_property

from xattr_check.errors import UsageError

LARGEST = 4  # features; every coalition of them is evaluated
# What the second patch does to the output, as a share of the effect of the first: so much that a right map
# says it, and so little that it is clearly less than the first one.
SUPPRESSED, GRADED = -0.5, 0.4


@dataclass(frozen=True)
class Change:
    """What a feature must do to an output when it joins a coalition: nothing, or so much.

    output: which of a sample's classes; feature: the one that joins.
    larger, smaller: coalitions with and without it, as bit masks over the features.
    share: what the output changes by, as a share of the contributing effect; 0 where it must not change.
    """

    output: int
    feature: int
    larger: int
    smaller: int
    share: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """Eq. 1–7 of [khakzar2022], and what else features may do, for any number and over all coalitions.

    makes: for each feature, the one of a sample's classes of whose inputs it is a piece at first.
    classes: how many classes a sample has.
    made: (coalition, output) pairs: with those features alone, the model says that class.
    adds: (output, feature, share) triples: in any coalition the feature changes the output by that share of
        the contributing effect, 0 where not at all; but where it completes one that makes the class.
    contributing: of which pairs in `made` the effect is the unit that changes are told in.
    worth: of each feature to the first output, as a share of the largest.
    together: whether features lie side by side, where what they do need not add up.
    saturating: whether each of `made` has the effect of all features.
    exchanged: whether features do the same in each other's places, the order of which is turned around.
    """

    name: str
    makes: tuple[int, ...]
    classes: int
    made: tuple[tuple[int, int], ...]
    adds: tuple[tuple[int, int, float], ...]
    contributing: tuple[int, ...]
    worth: tuple[float, ...]
    together: bool = False
    saturating: bool = False
    exchanged: bool = False

    @property
    def features(self) -> int:
        """How many features a sample has."""
        return len(self.makes)

    @property
    def coalitions(self) -> int:
        """How many subsets of the features there are."""
        return 1 << self.features

    @property
    def watched(self) -> int:
        """How many outputs something is asked of: the first ones of the sample's classes."""
        return 1 + max([output for output, _, _ in self.adds] + [output for _, output in self.made])

    @property
    def requirements(self) -> int:
        """How many requirements there are: classes to make, and changes."""
        return len(self.made) + len(self.changes)

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Every change of which it is said what it must come to."""
        return tuple(
            Change(output, feature, coalition | 1 << feature, coalition, share)
            for output, feature, share in self.adds
            for coalition in range(self.coalitions)
            if not coalition >> feature & 1 and (coalition | 1 << feature, output) not in self.made
        )


def _alone(makes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """What is made where each feature alone makes its class."""
    return tuple((1 << feature, output) for feature, output in enumerate(makes))


def _null(features: int) -> Scenario:
    every = tuple(range(features))
    adds = tuple((0, f, 0.0) for f in every[1:])
    return Scenario("null", every, features, _alone(every), adds, (0,), _only_first(features))


def _double(features: int) -> Scenario:
    every = tuple(range(features))
    adds = tuple((output, f, 0.0) for output in every for f in every if f != output)
    return Scenario("double", every, features, _alone(every), adds, every, _only_first(features))


def _single(features: int) -> Scenario:
    return Scenario("single", (0,), 2, _alone((0,)), ((1, 0, 0.0),), (0,), (1.0,))


def _saturation(features: int) -> Scenario:
    every, makes = tuple(range(features)), (0,) * features
    adds = tuple((0, f, 0.0) for f in every)
    return Scenario(
        "saturation", makes, 1, _alone(makes), adds, every, (1.0,) * features, together=True, saturating=True
    )


def _synergy(features: int) -> Scenario:
    adds = tuple((0, f, 0.0) for f in range(features))
    made = (((1 << features) - 1, 0),)
    return Scenario("synergy", (0,) * features, 1, made, adds, (0,), (1.0,) * features, together=True)


def _suppression(features: int) -> Scenario:
    return Scenario("suppression", (0, 1), 2, ((1, 0),), ((0, 1, SUPPRESSED),), (0,), (1.0, SUPPRESSED))


def _graded(features: int) -> Scenario:
    # The lesser one starts as a piece of another class: of the same one, what does less has less contrast.
    return Scenario("graded", (0, 1), 2, ((1, 0),), ((0, 1, GRADED),), (0,), (1.0, GRADED))


def _exchange(features: int) -> Scenario:
    return replace(_null(features), name="exchange", exchanged=True)


def _only_first(features: int) -> tuple[float, ...]:
    return (1.0,) + (0.0,) * (features - 1)


# What is made, and with how many features at the least and at the most.
SCENARIOS = {
    "null": (_null, 2, LARGEST),
    "double": (_double, 2, LARGEST),
    "single": (_single, 1, 1),
    "saturation": (_saturation, 2, LARGEST),
    "synergy": (_synergy, 2, LARGEST),
    "suppression": (_suppression, 2, 2),
    "graded": (_graded, 2, 2),
    "exchange": (_exchange, 2, 2),
}


def scenario(name: str, features: int | None = None) -> Scenario:
    """The scenario of that name, with two features unless said, or one for `single`. Raises UsageError.

    null: feature a makes class a, every other its own class and never changes output a (Eq. 1 and 2).
    double: each makes its own class and changes no other's output (Eq. 4 and 5, and for the empty image too,
        since a method that averages over coalitions would else rightly see an effect).
    single: one feature makes class a and never changes output b (Eq. 3).
    saturation: all make class a, and any of them has the effect of all (Eq. 6 and 7).
    synergy: all together make class a, and fewer of them change nothing.
    suppression: feature a makes class a, and b lowers output a by half of that effect, with a or without.
    graded: feature a makes class a, and b adds 0.4 of that effect to output a, with a or without.
    exchange: as null, and the same with either feature in the place of the other.
    """
    if name not in SCENARIOS:
        raise UsageError(option="scenario", value=name, expected=f"one of {', '.join(SCENARIOS)}")
    make, least, most = SCENARIOS[name]
    count = least if features is None else features
    if not least <= count <= most:
        wanted = f"{least} to {most} features" if most > least else f"{most} feature{'s'[: most - 1]}"
        raise UsageError(option="scenario", value=name, expected=wanted, came=str(count))
    return make(count)
