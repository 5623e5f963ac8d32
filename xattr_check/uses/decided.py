"""Which regions of an input a network's output varies with the most, by groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.statistics.groups import Decision, Question, decide_by_groups
from xattr_check.uses.model import INPUTS, SAMPLES, asked_of, networks_of, partitions_of, specs_of

# Groups save where there are many regions.
GRIDS = (16,)


@dataclass(frozen=True, eq=False)
class Decided:
    """What groups say of one network and one kind of regions.

    network: `model`, or a sibling's name. regions: what was asked for. decisions: of each input.
    sides: cells along each axis, where regions are those of a grid; else how many there are.
    """

    network: str
    regions: str
    sides: tuple[int, ...]
    decisions: tuple[Decision, ...]

    def places(self, regions: Tensor) -> list[tuple[int, ...]]:
        """Where regions (D,) bool are: row and column of a grid, or a number."""
        return [self._place(number) for number in regions.nonzero()[:, 0].tolist()]

    def _place(self, number: int) -> tuple[int, ...]:
        found: list[int] = []
        for side in reversed(self.sides):
            number, last = divmod(number, side)
            found.insert(0, last)
        return tuple(found)


@dataclass(frozen=True, eq=False)
class DecisionReport:
    """Which regions of the same inputs are the answer to a question, by network and kind of regions.

    question: as it was asked. index: which of the subject's inputs. notes: why something does not apply, a
    sentence each.
    """

    subject: str
    question: str
    index: tuple[int, ...]
    samples: int
    seed: int
    found: tuple[Decided, ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The same for machines."""
        head = {name: getattr(self, name) for name in ("subject", "question", "samples", "seed")}
        return {**head, "found": [self._document(one) for one in self.found], "notes": list(self.notes)}

    def _document(self, one: Decided) -> dict[str, Any]:
        inputs = [
            {
                "input": row,
                "chosen": [list(place) for place in one.places(decision.chosen)],
                "sure": [list(place) for place in one.places(decision.sure)],
                "forwards": decision.outputs,
                "of_all": decision.all_outputs,
                "group": decision.group.tolist(),
                "total": decision.total.tolist(),
                "half_width": decision.half_width.tolist(),
            }
            for row, decision in zip(self.index, one.decisions, strict=True)
        ]
        return {"network": one.network, "regions": one.regions, "sides": list(one.sides), "inputs": inputs}


def decision_report(
    subject: Subject,
    decide: str,
    *,
    networks: Sequence[str] | None = None,
    grids: Sequence[int] = GRIDS,
    inputs: int = INPUTS,
    samples: int = SAMPLES,
    seed: int = 0,
    memory: int = MEMORY,
    watch: Callable[[int, int], None] | None = None,
) -> DecisionReport:
    """Which regions a subject's model and its siblings vary with the most, on the same inputs.

    decide: `top:5`, the regions with the five largest S_T, or `above:0.1`, those whose share is larger, found
        by groups of neighbours that are halved where they may hold one [chan2000].
    The others are those of `model_report`. Raises UsageError for what cannot be resolved.
    """
    asked = asked_of(subject, grids, inputs, samples, seed, memory)
    chosen = networks_of(subject, networks)
    partitions, notes = partitions_of(asked, specs_of(subject, grids))
    for regions in partitions.values():
        try:
            Question.of(decide, regions.count)
        except ValueError as error:
            raise UsageError(str(error)) from None
    total, found = len(chosen) * len(partitions) * len(asked.index), list[Decided]()
    done = 0
    for name, network in chosen.items():
        for spec, regions in partitions.items():
            decisions = []
            for place, order in enumerate(regions.nearby().expand(len(asked.index), -1)):
                answers = asked.answers(network, regions, place)
                decisions.append(
                    decide_by_groups(answers, regions.count, samples, seed + place, decide, order)
                )
                done += 1
                if watch is not None:
                    watch(done, total)
            found.append(Decided(name, spec, _sides(subject, spec, regions.count), tuple(decisions)))
    index = tuple(asked.index.tolist())
    return DecisionReport(subject.name, decide, index, samples, seed, tuple(found), tuple(notes))


def _sides(subject: Subject, spec: str, count: int) -> tuple[int, ...]:
    """Cells along each axis of a grid, of which there are no more than features; else how many regions."""
    name, _, cells = spec.partition(":")
    return tuple(min(int(cells), side) for side in subject.spatial) if name == "grid" else (count,)
