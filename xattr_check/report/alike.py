"""Which checks rank methods alike: the rank correlation of two checks' figures over the methods of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from xattr_check.core.verdict import Verdict
from xattr_check.statistics.similarity import spearman
from xattr_check.wording import WIDTH

# Methods of which fewer say nothing of an order: of four, one order in twelve is right or reversed.
FEWEST = 5
# Pairs that are shown at either end.
SHOWN = 3


@dataclass(frozen=True)
class Pair:
    """How far two checks rank so many methods alike: 1 for the same order, −1 for the opposite one."""

    check: str
    other: str
    methods: int
    correlation: float


def pairs_of_checks(verdicts: Sequence[Verdict], fewest: int = FEWEST) -> list[Pair]:
    """All pairs of checks with figures of at least so many methods, from the most alike to the least.

    verdicts: on one subject. Figures are ranked from the worst to the best, Spearman's ties at their mean
    rank. The contract's are left out, where all are to be equal, and those without a gate, of which none is
    better; so is a check that says the same of all methods.
    """
    figures: dict[str, dict[str, float]] = {}
    for verdict in verdicts:
        if verdict.interval is not None and verdict.family != "contract" and not verdict.ungated:
            sign = 1 if verdict.better == "higher" else -1
            figures.setdefault(verdict.check, {})[verdict.method] = sign * verdict.interval.value
    found = []
    for (check, own), (other, beside) in combinations(figures.items(), 2):
        shared = [method for method in own if method in beside]
        rows = torch.tensor([[by[method] for method in shared] for by in (own, beside)], dtype=torch.float64)
        if len(shared) >= fewest and bool((rows != rows[:, :1]).any(1).all()):
            correlation = float(spearman(rows[:1], rows[1:]))
            found.append(Pair(check, other, len(shared), correlation))
    return sorted(found, key=lambda pair: (-pair.correlation, pair.check, pair.other))


def render_lines(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, str]]:
    """Lines on the pairs at either end, for each subject, each with what colours it; none for too few."""
    for subject in dict.fromkeys(verdict.subject for verdict in verdicts):
        pairs = pairs_of_checks([verdict for verdict in verdicts if verdict.subject == subject])
        if not pairs:
            continue
        yield f"checks that rank the methods on {subject} most alike, and least"[:WIDTH], "head"
        shown = pairs if len(pairs) <= 2 * SHOWN else [*pairs[:SHOWN], *pairs[-SHOWN:]]
        for pair in shown:
            told = f"{pair.check} and {pair.other}"
            yield f"  {told:<58.58} {pair.correlation:>5.2f} {pair.methods:>4} methods", "text"
