"""Which parameters have the largest total indices, by groups that are split where they may hold one."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from xattr_check.statistics.sobol import bootstrap, saltelli_ends, sobol_half_widths, sobol_indices

# A group is split into so many. Where every group has to be split, four make a third more than the design of
# all parameters, two twice as many; to find one parameter of many both take as many.
PARTS = 4
RESAMPLES = 200
LEVEL = 0.95


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
    outputs: how many were asked for. all_outputs: how many the design of all parameters asks for, which are
        fewer where most groups had to be split.
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
    def clear(self) -> bool:
        """Whether the intervals of all that were chosen are above those of all others.

        Where they are not, the answer is that of these samples, and others may have another one.
        """
        inside = torch.zeros(len(self.total), dtype=torch.bool)
        inside[self.group[self.chosen]] = True
        low, high = self.total - self.half_width, self.total + self.half_width
        return bool(inside.any()) and not bool((~inside).any() and high[~inside].max() >= low[inside].min())


def decide_by_groups(
    outputs: Callable[[Tensor], Tensor],
    parameters: int,
    samples: int,
    seed: int,
    spec: str,
    order: Tensor | None = None,
) -> Decision:
    """The parameters that a question asks for, as the design of all parameters would tell them.

    The total index of a group is the share of the variance that goes with any of its members, at least that
    of each [sobol2001], whatever their signs: unlike the mean effect of parameters that are moved together,
    they cannot cancel. So a group whose interval is not above the bound holds none of the answer, and a
    group whose interval is above it is split, the largest first, as in sequential bifurcation
    [bettonvil1997]. The rows are those of Saltelli's design with the same seed, with the columns of a group
    exchanged together, so that a parameter by itself has the index that the design of all has for it.

    outputs: (K, D) float64 in 0…1 -> (K,). samples: a power of two.
    spec: `top:K`, or `above:SHARE`.
    order: (D,) int64, in which those that follow each other are grouped; as they are numbered by default.
    Raises ValueError for a question that is none.
    """
    question = Question.of(spec, parameters)
    first, second = saltelli_ends(parameters, samples, seed)
    weights = bootstrap(samples, RESAMPLES, torch.Generator().manual_seed(seed))
    order = torch.arange(parameters) if order is None else order
    start, end = outputs(torch.cat([first, second])).cpu().double().chunk(2)
    asked = 2 * samples

    def measured(runs: list[range]) -> list[tuple[float, float]]:
        """S_T of runs of the order, and half of the interval of each."""
        rows = first[:, None].repeat(1, len(runs), 1)
        for place, run in enumerate(runs):
            columns = order[run.start : run.stop]
            rows[:, place, columns] = second[:, columns]
        mixed = outputs(rows.flatten(0, 1)).cpu().double().unflatten(0, (samples, len(runs)))
        whole = torch.cat([start[:, None], mixed, end[:, None]], 1).flatten()[None]
        total = sobol_indices(whole, len(runs)).total[0].tolist()
        width = sobol_half_widths(whole, len(runs), weights).total[0].tolist()
        return list(zip(total, width, strict=True))

    doubtful, known = [range(parameters)], dict[range, tuple[float, float]]()
    while doubtful:
        # The group of the largest share is the likeliest to raise the bound for the others.
        largest = max(doubtful, key=lambda run: known.get(run, (0.0, 0.0)))
        known.pop(largest, None)
        parts = split(largest)
        known |= dict(zip(parts, measured(parts), strict=True))
        asked += samples * len(parts)
        singles = [known[run][0] for run in known if len(run) == 1]
        bound = question.bound(torch.tensor(singles, dtype=torch.float64))
        doubtful = [run for run in known if len(run) > 1 and sum(known[run]) > bound]
    runs = sorted(known, key=lambda run: run.start)
    sizes = torch.tensor([len(run) for run in runs])
    group = torch.empty(parameters, dtype=torch.int64)
    group[order] = torch.arange(len(runs)).repeat_interleave(sizes)
    total, half_width = torch.tensor([known[run] for run in runs], dtype=torch.float64).unbind(1)
    alone = total.where(sizes == 1, -torch.inf)[group]
    return Decision(group, total, half_width, question.answer(alone), asked, samples * (parameters + 2))


def split(run: range) -> list[range]:
    """A run in parts as equal as can be, of one at the least."""
    parts = min(PARTS, len(run))
    edges = [run.start + len(run) * part // parts for part in range(parts + 1)]
    return [range(*pair) for pair in pairwise(edges)]
