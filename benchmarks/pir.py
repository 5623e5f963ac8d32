"""Writes docs/variance.md: in how many regions S₁ exceeds S_T, by grid, and whether that is more than noise.

    python benchmarks/pir.py [--subject digits benchmarks/subjects.py:mobilenet_v2?data=FOLDER …] \
        [--designs 4x64,8x64,14x64] [--inputs 16] [--add] [--write docs/variance.md]

A design is cells × samples: with D = cells² regions it takes samples · (D + 2) forward passes for each input.
Beside the subjects, the same designs on polynomials of independent numbers, of which S₁ and S_T are known.
With --add, the rows of the file stay where the run has none of their own.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from xattr_check import load_subject
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.statistics.similarity import spearman
from xattr_check.statistics.sobol import Indices, bootstrap, saltelli, sobol_indices

RESAMPLES = 1000
POLYNOMIALS = 64
SEED = 0
HEADER = """
# Variance by region: where S₁ exceeds S_T

<!-- Written by benchmarks/pir.py. -->
The primary index ratio (PIR) of a region is S₁/S_T: what part of its share of the output's variance it makes
by itself. [sbsa2022] finds more than 1 in 22 % of the regions of 4 × 4, in 33 % of 8 × 8 and in 39 % of
14 × 14, and takes it for a sign that neighbouring regions are correlated, against what the method assumes.

**Correlated regions cannot do that.** Sobol's decomposition asks that the *sampled* numbers are independent,
and these are the gains of the regions, which the design draws independently, for one input whose pixels stay
what they are. The output is some function of the gains, and for any function of independent numbers
0 ≤ S₁ ≤ S_T, however alike the regions look. What exceeds 1 is an estimate. The standard error of S₁ is
about √(2 S_T / N) with N samples, that of the ratio about √(2 / (N S_T)): with D equal regions, S_T ≈ 1/D
and N = 50 as in the paper, it is 0.8, 1.6 and 2.8 on the three grids. A ratio that is truly 0.4 is then
measured above 1 in 23 %, 35 % and 42 % of the cases.

The table is the measurement. Rows named *polynomial* are functions of independent numbers, without an image
and without anything that could be correlated: y = Σ wₖ gₖ + Σ vₖₗ gₖ gₗ, half of the variance in the
products, the true ratio known: 0.25 on average, 0.9 at most.

- *above 1*: share of the regions whose estimated ratio is above 1. *Below after all*: of these, how many have
  a bootstrap interval (95 %) that reaches below 1.
- *That matter*: the regions with S_T ≥ 1/D; how many of them are above 1, and how many with the whole
  interval (by chance 2.5 % if all ratios were 1).
- *Split*: rank correlation of S_T, and of S₁, from the two halves of the samples.
"""
FOOTER = """
So it is noise. On the digits with 4 × 4 regions, of those that matter 22 % are above 1 with 64 samples, 2 %
with 256, and none with the whole interval. The others that are above 1 have an S_T of nearly nothing, and a
ratio of two small errors. Polynomials, which have no neighbours, come to 15 %, 27 % and 37 % on the three
grids, and to fewer with more samples.

What follows for use: S_T can be ranked from few samples, since it is a mean of squares; S₁, and with it the
ratio, needs N ≫ 2 / S_T of them. `sobol_pir` ranks by S_T, on 4 × 4 regions, and uses the ratio only to find
out that an output is no function of the gains at all, as where the inputs of a batch mix.
"""
TITLES = (
    "subject", "grid", "samples", "forwards an input", "inputs", "above 1", "below after all",
    "that matter above 1", "whole interval", "split S_T", "split S₁",
)  # fmt: skip


@dataclass(frozen=True)
class Design:
    cells: int
    samples: int

    @property
    def regions(self) -> int:
        return self.cells**2

    @property
    def rows(self) -> Tensor:
        return saltelli(self.regions, self.samples, SEED)


def polynomial(design: Design) -> tuple[Tensor, Indices]:
    """Outputs (POLYNOMIALS, K) of random polynomials, and their true indices."""
    generator = torch.Generator().manual_seed(SEED)
    count = design.regions
    size = (POLYNOMIALS, count, count)
    single = torch.randn(size[:2], generator=generator, dtype=torch.float64)
    pairs = torch.randn(size, generator=generator, dtype=torch.float64).triu(1)
    # Of gains with mean 0 and variance 1/3, so that each kind of term makes half of the variance.
    pairs *= (3 * single.square().sum(1) / pairs.square().sum((1, 2))).sqrt()[:, None, None]
    gains = 2 * design.rows - 1
    outputs = single @ gains.T + torch.stack([((gains @ one) * gains).sum(1) for one in pairs])
    alone, shared = single**2 / 3, (pairs + pairs.mT).square().sum(2) / 9
    variance = alone.sum(1, keepdim=True) + shared.sum(1, keepdim=True) / 2
    return outputs, Indices(alone / variance, (alone + shared) / variance)


def measured(name: str, design: Design, outputs: Tensor) -> str:
    """One row of the table."""
    count = design.regions
    found = sobol_indices(outputs, count)
    weights = bootstrap(design.samples, RESAMPLES, torch.Generator().manual_seed(SEED))
    low = torch.stack(
        [
            torch.nanquantile(sobol_indices(one[None], count, weights).ratio[:, 0], 0.025, dim=0)
            for one in outputs
        ]
    )
    above, whole, matter = found.ratio > 1, low > 1, found.total >= 1 / count
    halves = [sobol_indices(half, count) for half in outputs.chunk(2, dim=1)]
    splits = [
        float(spearman(one, two).mean())
        for one, two in ((halves[0].total, halves[1].total), (halves[0].first, halves[1].first))
    ]
    shares = (
        above.double().mean(), 1 - (whole & above).sum() / above.sum().clamp_min(1),
        above[matter].double().mean(), whole[matter].double().mean(),
    )  # fmt: skip
    forwards = "" if name == "polynomial" else f"{outputs.shape[1]}"
    cells = [name, f"{design.cells} × {design.cells}", str(design.samples), forwards, str(len(outputs))]
    cells += [f"{float(share):.0%}".replace("%", " %") for share in shares] + [f"{s:.2f}" for s in splits]
    return f"| {' | '.join(cells)} |"


def rows(subjects: list[str], designs: list[Design], inputs: int) -> Iterator[str]:
    for design in designs:
        outputs, truth = polynomial(design)
        mean, most = float(truth.ratio.mean()), float(truth.ratio.max())
        print(f"polynomial of {design.regions}: true ratio {mean:.2f}, at most {most:.2f}")
        yield measured("polynomial", design, outputs)
    for spec in subjects:
        subject = load_subject(spec)
        order = torch.randperm(len(subject.inputs), generator=torch.Generator().manual_seed(SEED))[:inputs]
        some, targets = subject.inputs[order], subject.targets[order]
        for design in designs:
            outputs = SemanticMap.grid(subject.spatial, design.cells).outputs(
                subject.model, some, targets, mean_fill(subject, some), 2 * design.rows,
                output="logit", memory=2**29,
            )  # fmt: skip
            yield measured(subject.name, design, outputs)


def key(row: str) -> tuple[str, ...]:
    """What a row is about: subject, grid and samples."""
    return tuple(row.split(" | ")[:3])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", nargs="*", default=["digits"])
    parser.add_argument("--designs", default="4x64,8x64,14x64")
    parser.add_argument("--inputs", type=int, default=16)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--write", type=Path, default=Path(__file__).parent.parent / "docs" / "variance.md")
    arguments = parser.parse_args()
    designs = [Design(*map(int, one.split("x"))) for one in arguments.designs.split(",")]
    known = {}
    if arguments.add and arguments.write.exists():
        lines = [line for line in arguments.write.read_text().splitlines() if line.startswith("| ")]
        known = {key(line): line for line in lines[1:]}
    started = time.perf_counter()
    for row in rows(arguments.subject, designs, arguments.inputs):
        known[key(row)] = row
        print(f"{time.perf_counter() - started:6.0f} s  {row}", flush=True)
        table = [f"| {' | '.join(TITLES)} |", "|---" * len(TITLES) + "|", *sorted(known.values(), key=place)]
        arguments.write.write_text("\n".join([HEADER.strip(), "", *table, "", FOOTER.strip(), ""]))


def place(row: str) -> tuple[object, ...]:
    """By subject, grid and samples, polynomials first."""
    name, grid, samples = key(row)
    return name != "| polynomial", name, int(grid.split()[0]), int(samples)


if __name__ == "__main__":
    main()
