"""Writes docs/rankings.md: which sensitivity analysis ranks regions best, by two checks, on three grids.

    python docs/make/rankings.py [--subject digits] [--designs 4x32,8x32,16x16] [--inputs 16] \
        [--write docs/rankings.md]

A design is cells × samples: with D = cells² regions Saltelli's takes samples · (D + 2) forward passes for
each input, and all others are given as many. S_T and S₁ are of the same outputs.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from pages import DOCS, Stamp, write
from scipy.stats import t as student
from torch import Tensor, nn

import xattr_check
from xattr_check import Explainer, Run, Store, Subject, load_method, load_subject
from xattr_check.config.selection import select
from xattr_check.core.layouts import grid
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.statistics.sensitivity import sensitivity_of

CHECKS = ("top_bottom_masking?by=regions", "sensitivity_n")
GAIN, SEED, LEVEL = 2.0, 0, 0.95
BEST = "S_T"
# By the name on the page: the analysis, its index, and how many samples so many forward passes are.
ANALYSES: dict[str, tuple[str, str, Callable[[int, int], int]]] = {
    BEST: ("sobol", "total", lambda passes, regions: passes // (regions + 2)),
    "S₁": ("sobol", "first", lambda passes, regions: passes // (regions + 2)),
    "μ*": ("morris", "magnitude", lambda passes, regions: passes // (regions + 1)),
    "LIME": ("lime", "coefficient", lambda passes, regions: passes),
    "Shapley": ("shapley", "value", lambda passes, regions: passes // (regions + 1) // 2 * 2),
}
OTHERS = {"integrated gradients": "xattr:integrated_gradients", "random": "xattr:random"}


def indices(subject: Subject, cells: int, samples: int) -> dict[str, Tensor]:
    """(N, D) float64 of the regions of a subject's inputs, by the name of the analysis."""
    regions = SemanticMap.of(grid(subject.spatial, cells)[None])
    passes = samples * (regions.count + 2)
    outputs: dict[str, Tensor] = {}
    found = {}
    for title, (name, index, samples_of) in ANALYSES.items():
        analysis = sensitivity_of(name, index, samples_of(passes, regions.count), regions.count)
        design = GAIN * analysis.design(regions.count, analysis.samples, SEED)
        if name not in outputs:
            outputs[name] = regions.outputs(
                subject.model, subject.inputs, subject.targets, mean_fill(subject, subject.inputs), design,
                output="logit", memory=2**28, layout=subject.layout,
            )  # fmt: skip
        found[title] = analysis.analyse(design, outputs[name], GAIN, SEED)
    return found


def method_of(subject: Subject, values: Tensor) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """A method that knows the indices of the regions of a subject's inputs, (N, D)."""
    index = grid(subject.spatial, math.isqrt(values.shape[1]))
    maps = values[:, index].float()[:, None]

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return maps[subject.locate(inputs)]

    return explain


def judged(subject: Subject, cells: int, samples: int) -> dict[str, dict[str, Tensor]]:
    """(N,) what each check says of each ranking on each input, by their names."""
    subject = replace(subject, regions=grid(subject.spatial, cells))
    methods = {
        title: method_of(subject, values) for title, values in indices(subject, cells, samples).items()
    }
    found: dict[str, dict[str, Tensor]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(store=Store(Path(folder)), seed=SEED, budget="full")
        for check in select(" or ".join(CHECKS), xattr_check.checks(), "full"):
            draw = next(run.draws(check.name, subject, len(subject.inputs)))
            for title, method in {**methods, **OTHERS}.items():
                explainer = Explainer.of(load_method(method), subject, run)
                found.setdefault(check.name, {})[title] = check(explainer, subject, draw).samples.double()
    return found


def interval(samples: Tensor) -> str:
    """The mean of samples (n,) and half of its interval by Student."""
    quantile = float(student.ppf(0.5 + LEVEL / 2, len(samples) - 1))
    half = quantile * float(samples.std()) / math.sqrt(len(samples))
    return f"{float(samples.mean()):.2f} ± {half:.2f}"


def rows(found: dict[str, dict[str, Tensor]]) -> Iterator[str]:
    """A row for each ranking: what each check says, and by how much S_T is ahead on the same inputs."""
    for title in (*ANALYSES, *OTHERS):
        cells = [title]
        for check in CHECKS:
            best, own = found[check][BEST], found[check][title]
            cells += [interval(own), "" if title == BEST else interval(best - own)]
        yield f"| {' | '.join(cells)} |"


def table(found: dict[str, dict[str, Tensor]]) -> str:
    titles = ["ranking", *(part for check in CHECKS for part in (f"`{check}`", f"{BEST} ahead by"))]
    return "\n".join([f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *rows(found)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", default="digits")
    parser.add_argument("--designs", default="4x32,8x32,16x16")
    parser.add_argument("--inputs", type=int, default=16)
    parser.add_argument("--write", type=Path, default=DOCS / "rankings.md")
    arguments = parser.parse_args()
    stamp, whole, started = Stamp.now("rankings"), load_subject(arguments.subject), time.perf_counter()
    order = torch.randperm(len(whole.inputs), generator=torch.Generator().manual_seed(SEED))
    some = order[: arguments.inputs]
    subject = whole.with_inputs(whole.inputs[some], whole.targets[some], {})
    tables = []
    for design in arguments.designs.split(","):
        cells, samples = map(int, design.split("x"))
        passes = samples * (cells**2 + 2)
        told = table(judged(subject, cells, samples))
        print(f"{time.perf_counter() - started:6.0f} s  {cells} × {cells}\n{told}", flush=True)
        tables.append(f"### {cells} × {cells} regions, {passes} forward passes for each input\n\n{told}")
        write(arguments.write, "rankings", stamp, inputs=len(some), tables="\n\n".join(tables))


if __name__ == "__main__":
    main()
