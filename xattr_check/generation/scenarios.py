"""Scenarios: what generated features must and must not do to a model's outputs, in every coalition."""

from dataclasses import dataclass
from functools import cached_property

from xattr_check.errors import UsageError

LARGEST = 4  # features; every coalition of them is evaluated


@dataclass(frozen=True)
class Change:
    """An output that a feature must not change when it joins a coalition.

    output: which of a sample's classes; feature: the one that joins.
    larger, smaller: coalitions with and without it, as bit masks over the features.
    """

    output: int
    feature: int
    larger: int
    smaller: int


@dataclass(frozen=True)
class Scenario:
    """Eq. 1–7 of [khakzar2022], for any number of features and over all coalitions.

    makes: for each feature, which of a sample's classes it makes.
    classes: how many classes a sample has, one for each output that is watched.
    null: (output, feature) pairs: the feature must not change the output.
    contributing: the features whose effect is the unit that forbidden changes are told in.
    saturating: whether a feature may change the output of an empty image, and only of that.
    """

    name: str
    makes: tuple[int, ...]
    classes: int
    null: tuple[tuple[int, int], ...]
    contributing: tuple[int, ...]
    saturating: bool = False

    @property
    def features(self) -> int:
        """How many features a sample has."""
        return len(self.makes)

    @property
    def coalitions(self) -> int:
        """How many subsets of the features there are."""
        return 1 << self.features

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Every change that is forbidden."""
        return tuple(
            Change(output, feature, coalition | 1 << feature, coalition)
            for output, feature in self.null
            for coalition in range(self.coalitions)
            if not coalition >> feature & 1 and (coalition or not self.saturating)
        )


def _null(features: int) -> Scenario:
    every = tuple(range(features))
    return Scenario("null", every, features, tuple((0, f) for f in every[1:]), (0,))


def _double(features: int) -> Scenario:
    every = tuple(range(features))
    null = tuple((output, f) for output in every for f in every if f != output)
    return Scenario("double", every, features, null, every)


def _single(features: int) -> Scenario:
    return Scenario("single", (0,), 2, ((1, 0),), (0,))


def _saturation(features: int) -> Scenario:
    every = tuple(range(features))
    return Scenario("saturation", (0,) * features, 1, tuple((0, f) for f in every), every, saturating=True)


# What is made, and with how many features at the least and at the most.
SCENARIOS = {
    "null": (_null, 2, LARGEST),
    "double": (_double, 2, LARGEST),
    "single": (_single, 1, 1),
    "saturation": (_saturation, 2, LARGEST),
}


def scenario(name: str, features: int | None = None) -> Scenario:
    """The scenario of that name, with two features unless said, or one for `single`. Raises UsageError.

    null: feature a makes class a, every other its own class and never changes output a (Eq. 1 and 2).
    double: each makes its own class and changes no other's output (Eq. 4 and 5, and for the empty image too,
        since a method that averages over coalitions would else rightly see an effect).
    single: one feature makes class a and never changes output b (Eq. 3).
    saturation: all make class a, and any of them has the effect of all (Eq. 6 and 7).
    """
    if name not in SCENARIOS:
        raise UsageError(option="scenario", value=name, expected=f"one of {', '.join(SCENARIOS)}")
    make, least, most = SCENARIOS[name]
    count = least if features is None else features
    if not least <= count <= most:
        wanted = "1 feature" if most == 1 else f"{least} to {most} features"
        raise UsageError(option="scenario", value=name, expected=wanted, came=str(count))
    return make(count)
