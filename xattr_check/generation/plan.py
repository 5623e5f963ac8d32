"""How generated features are made: the scenario, the patches, what they are pasted on."""

import itertools
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from xattr_check.core.context import IDS
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.generation.geometry import Geometry, geometry_of
from xattr_check.generation.objectives import OBJECTIVES
from xattr_check.generation.prior import PRIORS
from xattr_check.generation.scenarios import Scenario

REFERENCES = ("subject", "noise", "inputs")
# After so many a sample that is not certified is given up, by the name of the prior, where it is not 1500:
# a step of a search shows each sample some hundred times.
STEPS = {"words": 300}


def default_side(size: tuple[int, ...], least: int = 4) -> int:
    """Pixels on a side of a patch: 7/16 of the smaller side of the image, 14 at 32 and 98 at 224."""
    return max(least, min(size) * 7 // 16)


def default_gap(size: tuple[int, ...]) -> int:
    """Pixels between patches at the least, so that one hardly acts on the other: 3 at 32, 21 at 224."""
    return min(size) * 3 // 32


def _side_of_many(features: int, size: tuple[int, ...], gap: int) -> int:
    """The largest side with which so many patches stand in a grid."""
    along = next(n for n in itertools.count(1) if n ** len(size) >= features)
    return (min(size) - (along - 1) * gap) // along


def usual_reference(subject: Subject, geometry: Geometry) -> str:
    """The subject's own, where it has one of what features are pasted on: of ids, it is what they become."""
    pasted = geometry.inputs_of(subject) is subject.inputs
    return "subject" if subject.reference is not None and pasted else "noise"


@dataclass(frozen=True)
class Plan:
    """How samples are made; two plans never share samples.

    side: pixels on a side of each patch, or times, vectors or voxels; of columns, how many. gap: so many of
        them between two at the least; 0 where the scenario has them side by side, since features that
        are far apart hardly act on each other, and of columns, which lie nowhere.
    reference: `subject` (its own), `noise` (normal, around the mean of the inputs, as the geometry says,
        clipped to the range) or `inputs` (one of the subject's inputs). noise: its standard deviation, as a
        share of that range, or for columns of their deviation.
    objective: `constrained` or `dynamic`. steps: after so many a sample that is not certified is given up.
    prior: `pixels`, `decoder` or `words`. fixed: whether each sample keeps to places of its own, which are
        those that it is shown at; else its patches go anywhere, and have to do the same there.
    """

    scenario: Scenario
    side: int
    gap: int
    reference: str = "noise"
    objective: str = "constrained"
    steps: int = 1500
    seed: int = 0
    prior: str = "pixels"
    fixed: bool = True
    noise: float = 0.1

    def __post_init__(self) -> None:
        if self.reference not in REFERENCES:
            raise UsageError(
                option="reference", value=self.reference, expected=f"one of {', '.join(REFERENCES)}"
            )
        if self.objective not in OBJECTIVES:
            raise UsageError(
                option="objective", value=self.objective, expected=f"one of {', '.join(OBJECTIVES)}"
            )
        if self.prior not in PRIORS:
            raise UsageError(option="prior", value=self.prior, expected=f"one of {', '.join(PRIORS)}")

    @classmethod
    def of(
        cls,
        subject: Subject,
        scenario: Scenario,
        *,
        side: int | None = None,
        reference: str | None = None,
        objective: str = "constrained",
        steps: int | None = None,
        seed: int = 0,
        prior: str | None = None,
        fixed: bool = True,
    ) -> "Plan":
        """The plan for a subject, with what is not said chosen to suit it. Raises UsageError."""
        wrong = partial(UsageError, option="subject", value=subject.name)
        geometry = geometry_of(subject)
        if others := sorted(subject.context.keys() - {IDS}):
            needed = "features are generated for models of one input"
            raise wrong(needed, came=f"other inputs, {', '.join(others)}")
        if "logits" not in subject.output.offers:
            needed = "features are generated for logits of classes or labels"
            raise wrong(needed, came=f"output={subject.output.name!r}")
        size, unit, least = geometry.size, geometry.unit, geometry.least
        gap = default_gap(size) if geometry.layout.ordered and not scenario.together else 0
        chosen = default_side(size, least) if side is None else side
        if side is None and scenario.features > 2:
            chosen = max(least, min(chosen, _side_of_many(scenario.features, size, gap)))
        if chosen < least:
            raise UsageError(option="patch", value=chosen, expected=f"at least {least} {unit}")
        usual = usual_reference(subject, geometry)
        reference = usual if reference is None else reference
        if reference == "subject" and usual != "subject":
            raise wrong("has no reference of its own", hint="choose noise or inputs")
        if prior is None:  # that of the paper, where the objective is
            paper = objective == "dynamic" and "decoder" in geometry.priors
            prior = "decoder" if paper else geometry.priors[0]
        steps = STEPS.get(prior, 1500) if steps is None else steps
        made = cls(scenario, chosen, gap, reference, objective, steps, seed, prior, fixed)
        if prior not in geometry.priors:
            expected = f"{' or '.join(geometry.priors)} for patches of {unit}"
            raise UsageError(option="prior", value=prior, expected=expected)
        if not (fixed or geometry.movable):
            expected = f"fixed for patches of {unit}, each of which is of a kind of its own"
            raise UsageError(option="placement", value="anywhere", expected=expected)
        if scenario.exchanged and not (fixed and geometry.movable):
            raise UsageError(
                option="scenario",
                value=scenario.name,
                expected="patches that are made for two places",
                came="patches that go anywhere"
                if geometry.movable
                else f"patches of {unit}, each of which is of a kind of its own",
            )
        made.place(1, geometry, torch.Generator().manual_seed(0))  # raises where they do not fit
        return made

    def place(self, count: int, geometry: Geometry, generator: torch.Generator) -> Tensor:
        """(count, F, A) places of the features."""
        return geometry.place(
            count,
            self.scenario.features,
            self.side,
            generator,
            gap=self.gap,
            together=self.scenario.together,
        )
