"""What it takes to find the largest total indices by groups, beside the design of all regions.

    python experiments/groups.py [--subject digits] [--inputs 4] [--samples 64] [--cells 8,16] [--top 5]

First functions of 256 numbers, on 20 seeds, then grids of a subject. For each: the outputs, or forward
passes, of the design of all and by groups; what share of the largest by four times the samples is among the
largest of either; on how many the answer by groups is clear, as the intervals (95 %) of what was chosen are
above those of all else; and the mean half width of these intervals.
"""

import argparse
import math
import os
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from xattr_check import Subject, load_subject
from xattr_check.core.context import rows
from xattr_check.core.layouts import grid
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.statistics.groups import Decision, decide_by_groups
from xattr_check.statistics.sobol import saltelli, sobol_indices

Function = Callable[[Tensor], Tensor]
TIMES = 4
PARAMETERS, SEEDS = 256, 20
SCALES = torch.tensor([0.0, 1.0, 4.5, 9.0, 99.0, 99.0], dtype=torch.float64)


def additive(points: Tensor) -> Tensor:
    return points @ torch.tensor([5.0, -4, 3, -2, 1], dtype=torch.float64)


def ishigami(points: Tensor) -> Tensor:
    x = (2 * points - 1) * math.pi
    return x[:, 0].sin() + 7 * x[:, 1].sin() ** 2 + 0.1 * x[:, 2] ** 4 * x[:, 0].sin()


def sobol_g(points: Tensor) -> Tensor:
    return (((4 * points - 2).abs() + SCALES) / (1 + SCALES)).prod(1)


def opposed(points: Tensor) -> Tensor:
    """Neighbours that cancel where they move together."""
    return points[:, 8] - points[:, 9] + 0.5 * (points[:, 100] - points[:, 101])


def alike(points: Tensor) -> Tensor:
    return points.sum(1)


def padded(function: Function, count: int, seed: int) -> Function:
    """So many numbers, scattered among inert ones."""
    places = torch.randperm(PARAMETERS, generator=torch.Generator().manual_seed(seed))[:count]
    return lambda points: function(points[:, places])


# How many numbers each has, None for those it takes itself, and how many are asked for.
FUNCTIONS: dict[str, tuple[Function, int | None, int]] = {
    "additive, 5 of 256 act": (additive, 5, 5),
    "Ishigami, 3 of 256 act": (ishigami, 3, 3),
    "Sobol's G, 6 of 256 act": (sobol_g, 6, 2),
    "neighbours that cancel": (opposed, None, 4),
    "256 alike": (alike, None, 5),
}


def total(outputs: Function, parameters: int, samples: int, seed: int) -> Tensor:
    """(D,) total indices by the design of all."""
    return sobol_indices(outputs(saltelli(parameters, samples, seed))[None], parameters).total[0]


def largest(total: Tensor, count: int) -> Tensor:
    """(D,) bool: the so many largest of indices (D,)."""
    return torch.zeros(len(total), dtype=torch.bool).index_fill(0, total.topk(count).indices, True)


def shared(ones: list[Tensor], others: list[Tensor]) -> float:
    """The mean share of the members of sets (D,) bool that are in others as large."""
    shares = [(one & other).sum() / one.sum() for one, other in zip(ones, others, strict=True)]
    return float(torch.stack(shares).mean())


def row(name: str, found: list[Decision], whole: list[Tensor], known: list[Tensor]) -> str:
    """One of the table: decisions, and indices (D,) of the design of all by as many samples and by more."""
    count = int(found[0].chosen.sum())
    right = [largest(total, count) for total in known]
    by_all = shared(right, [largest(total, count) for total in whole])
    by_groups = shared(right, [one.chosen for one in found])
    outputs = sum(one.outputs for one in found) / len(found)
    every = found[0].all_outputs
    width = torch.stack([one.half_width[one.group[one.chosen]].mean() for one in found]).mean()
    clear = sum(one.clear for one in found)
    return (
        f"| {name} | {every} | {outputs:.0f} | {1 - outputs / every:.0%} | {by_all:.0%} | {by_groups:.0%} | "
        f"{clear} of {len(found)} | {float(width):.2f} |"
    )


def of_functions(samples: int) -> Iterator[str]:
    for name, (function, count, top) in FUNCTIONS.items():
        found, whole, known = [], [], []
        for seed in range(SEEDS):
            own = function if count is None else padded(function, count, seed)
            found.append(decide_by_groups(own, PARAMETERS, samples, seed, f"top:{top}"))
            whole.append(total(own, PARAMETERS, samples, seed))
            known.append(total(own, PARAMETERS, TIMES * samples, SEEDS + seed))
        yield row(name, found, whole, known)


def of_subject(subject: Subject, index: Tensor, cells: int, samples: int, top: int) -> str:
    """Of the inputs of an index (n,), with a grid of so many cells on a side."""
    regions = SemanticMap.of(grid(subject.spatial, cells)[None])
    (order,) = regions.nearby()
    found, whole, known = [], [], []
    for one in index.split(1):
        inputs = subject.inputs[one]

        def outputs(design: Tensor, one: Tensor = one, inputs: Tensor = inputs) -> Tensor:
            """Of the one input, the target's logit under gains between 0 and 2."""
            with rows(one):
                return regions.outputs(
                    subject.model, inputs, subject.targets[one], mean_fill(subject, inputs), 2 * design,
                    output="logit", memory=2**29, layout=subject.layout,
                )[0]  # fmt: skip

        found.append(decide_by_groups(outputs, regions.count, samples, 0, f"top:{top}", order))
        whole.append(total(outputs, regions.count, samples, 0))
        known.append(total(outputs, regions.count, TIMES * samples, 1))
    return row(f"{subject.name}, {cells} × {cells}, the {top} largest", found, whole, known)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", default="digits")
    parser.add_argument("--inputs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--cells", default="8,16")
    parser.add_argument("--top", type=int, default=5)
    given = parser.parse_args()
    print("| outputs of | all | groups | saved | right by all | right by groups | clear | ± |")
    print("|---|---|---|---|---|---|---|---|")
    for line in of_functions(given.samples):
        print(line, flush=True)
    subject = load_subject(given.subject)
    generator = torch.Generator().manual_seed(0)
    index = torch.randperm(len(subject.inputs), generator=generator)[: given.inputs]
    for cells in map(int, given.cells.split(",")):
        print(of_subject(subject, index, cells, given.samples, given.top), flush=True)


if __name__ == "__main__":
    main()
