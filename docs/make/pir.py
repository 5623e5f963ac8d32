"""Writes docs/variance.md: in how many regions S₁ exceeds S_T, by grid, and whether that is more than noise.

    python docs/make/pir.py [--subject digits benchmarks/subjects.py:mobilenet_v2?data=FOLDER …] \
        [--designs 4x64,8x64,14x64] [--inputs 16] [--add] [--write docs/variance.md]

A design is cells × samples: with D = cells² regions it takes samples · (D + 2) forward passes for each input.
Beside the subjects, the same designs on polynomials of independent numbers, of which S₁ and S_T are known.
With --add, the rows of the file stay where the run has none of their own, and so does its stamp.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from pages import DOCS, Stamp, write
from torch import Tensor

from xattr_check import load_subject
from xattr_check.core.layouts import grid
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.statistics.similarity import spearman
from xattr_check.statistics.sobol import Indices, bootstrap, saltelli, sobol_indices

RESAMPLES = 1000
POLYNOMIALS = 64
SEED = 0
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
            outputs = SemanticMap.of(grid(subject.spatial, design.cells)[None]).outputs(
                subject.model, some, targets, mean_fill(subject, some), 2 * design.rows,
                output="logit", memory=2**29, layout=subject.layout,
            )  # fmt: skip
            yield measured(subject.name, design, outputs)


def own_rows(text: str) -> list[str]:
    """The rows of the table that this script writes, without its titles: the page has others."""
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if row.count("|") == len(TITLES) + 1][1:]


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
    parser.add_argument("--write", type=Path, default=DOCS / "variance.md")
    arguments = parser.parse_args()
    designs = [Design(*map(int, one.split("x"))) for one in arguments.designs.split(",")]
    known = {}
    stamp = (Stamp.of(arguments.write) if arguments.add else None) or Stamp.now("variance")
    if arguments.add and arguments.write.exists():
        known = {key(line): line for line in own_rows(arguments.write.read_text())}
    started = time.perf_counter()
    for row in rows(arguments.subject, designs, arguments.inputs):
        known[key(row)] = row
        print(f"{time.perf_counter() - started:6.0f} s  {row}", flush=True)
        table = [f"| {' | '.join(TITLES)} |", "|---" * len(TITLES) + "|", *sorted(known.values(), key=place)]
        write(arguments.write, "variance", stamp, table="\n".join(table))


def place(row: str) -> tuple[object, ...]:
    """By subject, grid and samples, polynomials first."""
    name, grid, samples = key(row)
    return name != "| polynomial", name, int(grid.split()[0]), int(samples)


if __name__ == "__main__":
    main()
