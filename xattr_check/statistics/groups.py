"""Which parameters have the largest total indices, by groups that are halved where they may hold one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xattr_check.statistics.sobol import bootstrap, half_width, saltelli_ends

RESAMPLES = 200


@dataclass(frozen=True)
class Question:
    """What is asked of total indices: which are the `top` so many, or `above` so large a share.

    number: how many, or the share.
    """

    kind: Literal["top", "above"]
    number: float

    @classmethod
    def of(cls, spec: str, parameters: int) -> "Question":
        """What `top:K` or `above:SHARE` asks of so many parameters. Raises ValueError for what is neither."""
        kind, _, text = spec.partition(":")
        if kind == "top" and text.isdecimal() and 1 <= int(text) <= parameters:
            return cls("top", int(text))
        if kind == "above":
            try:
                share = float(text)
            except ValueError:
                share = -1.0
            if 0 <= share < 1:
                return cls("above", share)
        raise ValueError(
            f"expected decide 'top:K' with K of 1 to {parameters}, or 'above:SHARE' with a share from 0 and "
            f"below 1, came {spec!r}"
        )

    def bound(self, singles: Tensor) -> float:
        """What an index has to be above, as far as those of parameters by themselves (S,) are known."""
        if self.kind == "above":
            return self.number
        count = int(self.number)
        return float(singles.topk(count).values[-1]) if len(singles) >= count else -torch.inf

    def answer(self, indices: Tensor) -> Tensor:
        """(D,) bool: which of the indices (D,) are the answer."""
        if self.kind == "above":
            return indices > self.number
        found = torch.zeros(len(indices), dtype=torch.bool)
        found[indices.topk(int(self.number)).indices] = True
        return found


@dataclass(frozen=True)
class Decision:
    """What groups say of the question, and what it took.

    group: (D,) int64 in 0…G − 1, the group of each parameter at the end.
    total, half_width: (G,) float64, S_T of each group and half of its interval at 95 %.
    chosen: (D,) bool, the parameters that are the answer, each a group by itself.
    outputs: how many were asked for. all_outputs: how many Saltelli's design of all parameters asks for:
        always more.
    """

    group: Tensor
    total: Tensor
    half_width: Tensor
    chosen: Tensor
    outputs: int
    all_outputs: int

    @property
    def spread(self) -> Tensor:
        """(D,) the index of each parameter's group, spread evenly over its members."""
        return self.total[self.group] / self.group.bincount()[self.group]

    @property
    def sure(self) -> Tensor:
        """(D,) bool, those of the chosen whose interval is above the intervals of all else."""
        inside = torch.zeros(len(self.total), dtype=torch.bool)
        inside[self.group[self.chosen]] = True
        highest = (self.total + self.half_width)[~inside].amax() if bool((~inside).any()) else -torch.inf
        return self.chosen & (self.total - self.half_width > highest)[self.group]

    @property
    def clear(self) -> bool:
        """Whether all that were chosen are sure.

        Where they are not, the answer is that of these samples, and others may have another one.
        """
        return bool(self.chosen.any()) and self.sure.equal(self.chosen)


def decide_by_groups(
    outputs: Callable[[Tensor], Tensor],
    parameters: int,
    samples: int,
    seed: int,
    spec: str,
    order: Tensor | None = None,
) -> Decision:
    """The parameters that a question asks for, in fewer outputs than the indices of all of them take.

    The total index of a group is the share of the variance that goes with any of its members, at least that
    of each [sobol2001], whatever their signs: unlike the mean effect of parameters that are moved together,
    they cannot cancel. So a group whose interval is not above the bound holds none of the answer, and a
    group whose interval is above it is halved, the largest first, as in sequential bifurcation
    [bettonvil1997].

    The rows are those of winding stairs [chan2000]: A of Saltelli's design with more and more of its columns
    from B. Two of them that differ in a group alone have its total index, so that halves of a group take one
    more row for each sample and what was asked for them is used again. Where every group has to be halved it
    is N (D + 1) outputs, and indices are the same whichever was halved first.

    outputs: (K, D) float64 in 0…1 -> (K,). samples: a power of two.
    spec: `top:K`, or `above:SHARE`.
    order: (D,) int64, in which those that follow each other are grouped; as they are numbered by default.
    Raises ValueError for a question that is none.
    """
    question = Question.of(spec, parameters)
    first, second = saltelli_ends(parameters, samples, seed)
    order = torch.arange(parameters) if order is None else order
    stairs = Stairs(first[:, order], second[:, order], lambda rows: outputs(rows[:, order.argsort()]))
    weights = bootstrap(samples, RESAMPLES, torch.Generator().manual_seed(seed))

    doubtful = known = {range(parameters): stairs.index(range(parameters), weights)}
    while doubtful := {
        run: index
        for run, index in known.items()
        if len(run) > 1 and sum(index) > question.bound(_singles(known))
    }:
        # The group of the largest share is the likeliest to raise the bound for the others.
        largest = max(doubtful, key=doubtful.__getitem__)
        del known[largest]
        known |= {half: stairs.index(half, weights) for half in halves(largest)}
    runs = sorted(known, key=lambda run: run.start)
    sizes = torch.tensor([len(run) for run in runs])
    group = torch.empty(parameters, dtype=torch.int64)
    group[order] = torch.arange(len(runs)).repeat_interleave(sizes)
    total, half_width = torch.tensor([known[run] for run in runs], dtype=torch.float64).unbind(1)
    alone = total.where(sizes == 1, -torch.inf)[group]
    return Decision(
        group, total, half_width, question.answer(alone), stairs.asked, samples * (parameters + 2)
    )


class Stairs:
    """Outputs on rows of A of which the first so many columns are from B, each step asked for once.

    first, second: A and B, (N, D) float64. outputs: (K, D) -> (K,).
    """

    def __init__(self, first: Tensor, second: Tensor, outputs: Callable[[Tensor], Tensor]) -> None:
        self.first, self.second, self._outputs = first, second, outputs
        ends = outputs(torch.cat([first, second])).cpu().double().chunk(2)
        self._steps = dict(zip((0, first.shape[1]), ends, strict=True))
        self._flat = bool((torch.cat(ends) == ends[0][0]).all())
        centred = torch.stack(ends) - torch.cat(ends).mean()
        # Of each sample, what the mean and the mean square of both ends are made of.
        self._level, self._square = centred.mean(0), centred.square().mean(0)

    @property
    def asked(self) -> int:
        """How many outputs there were."""
        return len(self.first) * len(self._steps)

    def step(self, columns: int) -> Tensor:
        """(N,) outputs with so many columns from B."""
        if columns not in self._steps:
            rows = torch.cat([self.second[:, :columns], self.first[:, columns:]], 1)
            self._steps[columns] = self._outputs(rows).cpu().double()
        return self._steps[columns]

    def index(self, run: range, weights: Tensor) -> tuple[float, float]:
        """S_T of the columns of a run, and half of its interval from bootstrap weights (R, N)."""
        if self._flat:
            return 0.0, 0.0
        change = (self.step(run.stop) - self.step(run.start)).square() / 2
        moments = torch.stack([change, self._level, self._square], 1)
        found, again = (_index(mean) for mean in (moments.mean(0), weights @ moments))
        return float(found), float(half_width(again))


def _index(means: Tensor) -> Tensor:
    """(…,) shares of a variance: means (…, 3) of half a squared change, of outputs and of their squares."""
    changed, level, square = means.unbind(-1)
    return changed / (square - level**2)


def _singles(known: Mapping[range, tuple[float, float]]) -> Tensor:
    return torch.tensor([known[run][0] for run in known if len(run) == 1], dtype=torch.float64)


def halves(run: range) -> tuple[range, range]:
    """A run of two at least, in two as equal as can be."""
    middle = (run.start + run.stop) // 2
    return range(run.start, middle), range(middle, run.stop)
