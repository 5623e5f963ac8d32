"""What Shapley effects say of regions whose gains are drawn together, beside S_T of gains drawn alone.

    python experiments/gains_together.py [--subject digits] [--inputs 16] [--samples 64] [--cells 4]

For each correlation of the gains of cells side by side: the rank correlation of the effects with S_T; that of
the effects from each half of the samples with the other; how even they are, as the number of cells that
would have as large a sum of squares, were all alike; and, where the subject has masks, the share of cells
that overlap them most, as many as cover as much as the mask. Then two regions, the mask and the rest: S₁, S_T
and S₁₂ with the half width of their intervals (95 %), means over the inputs.
"""

import argparse
import os
from collections.abc import Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from xattr_check import Subject, load_subject
from xattr_check.core.layouts import grid
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.named_regions import regions_by_name
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.statistics.shapley_effects import (
    INNER,
    copula_design,
    drawn_orders,
    effects_by_copula,
    effects_by_orders,
    orders,
)
from xattr_check.statistics.similarity import spearman
from xattr_check.statistics.sobol import bootstrap, saltelli, sobol_half_widths, sobol_indices

SEED = 0
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
RESAMPLES = 400


def outputs_of(subject: Subject, rows: Tensor, regions: SemanticMap, design: Tensor) -> Tensor:
    """(n, K) float64: the target's logit under gains between 0 and 2."""
    inputs = subject.inputs[rows]
    return regions.outputs(
        subject.model, inputs, subject.targets[rows], mean_fill(subject, inputs), 2 * design,
        output="logit", memory=2**29, layout=subject.layout,
    )  # fmt: skip


def halves(order: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Effects from each half of the samples."""
    first, second = outputs.chunk(2, dim=1)
    one, other = order.chunk(2)
    return effects_by_copula(one, first).share, effects_by_copula(other, second).share


def on_object(subject: Subject, rows: Tensor, regions: SemanticMap, shares: Tensor) -> float:
    """Mean share of the cells that overlap the mask most, as many as its area comes to."""
    mask = subject.truth["mask"][rows].flatten(1).double()
    inside = regions.sums(mask)
    count = (mask.mean(1) * regions.count).ceil().long()
    ranks = inside.argsort(1, descending=True).argsort(1)
    return float((shares * (ranks < count[:, None])).sum(1).mean())


def table(subject: Subject, rows: Tensor, cells: int, samples: int) -> Iterator[str]:
    regions = SemanticMap.of(grid(subject.spatial, cells)[None])
    count = regions.count
    design = saltelli(count, samples, SEED)
    alone = outputs_of(subject, rows, regions, design)
    found = sobol_indices(alone, count)
    yield "| gains | forwards an input | with S_T | split | cells alike | on the object |"
    yield "|---|---|---|---|---|---|"

    def row(name: str, forwards: int, shares: Tensor, split: float) -> str:
        even = float((shares.sum(1) ** 2 / shares.square().sum(1)).mean())
        agreed = float(spearman(shares, found.total).mean())
        held = f"{on_object(subject, rows, regions, shares):.2f}" if "mask" in subject.truth else ""
        return f"| {name} | {forwards} | {agreed:.2f} | {split:.2f} | {even:.1f} | {held} |"

    first, second = (sobol_indices(half, count).total for half in alone.chunk(2, dim=1))
    total = found.total / found.total.sum(1, keepdim=True)
    yield row("alone, S_T", len(design), total, float(spearman(first, second).mean()))
    walks = orders(count, samples, SEED)
    outputs = outputs_of(subject, rows, regions, walks)
    parts = [
        effects_by_orders(some, half).share
        for some, half in zip(walks.chunk(2), outputs.chunk(2, dim=1), strict=True)
    ]
    shares = effects_by_orders(walks, outputs).share
    yield row("alone, effects", len(walks), shares, float(spearman(parts[0], parts[1]).mean()))
    for near in CORRELATIONS:
        order = drawn_orders(count, samples, SEED)
        together = copula_design(regions.correlation(near), order, SEED)
        assert len(together) == samples * count * INNER
        outputs = outputs_of(subject, rows, regions, together)
        shares = effects_by_copula(order, outputs).share
        one, other = halves(order, outputs)
        yield row(f"correlated by {near:g}", len(together), shares, float(spearman(one, other).mean()))


def two_regions(subject: Subject, rows: Tensor, samples: int) -> Iterator[str]:
    """Background and object: what each makes, and what they make together."""
    regions = regions_by_name("mask", subject.inputs[rows], subject.layout, subject=subject)
    outputs = outputs_of(subject, rows, regions, saltelli(2, samples, SEED, pairs=True))
    found = sobol_indices(outputs, 2, pairs=True)
    weights = bootstrap(samples, RESAMPLES, torch.Generator().manual_seed(SEED))
    widths = sobol_half_widths(outputs, 2, weights, pairs=True)
    assert found.second is not None
    assert widths.second is not None
    for name, place in (("background", 0), ("object", 1)):
        told = [
            f"{index} {float(value[:, place].mean()):.2f} ± {float(width[:, place].mean()):.2f}"
            for index, value, width in (("S₁", found.first, widths.first), ("S_T", found.total, widths.total))
        ]
        yield f"{name}: {', '.join(told)}"
    both, width = (float(one[:, 0, 1].mean()) for one in (found.second, widths.second))
    yield f"together: S₁₂ {both:.2f} ± {width:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", default="digits")
    parser.add_argument("--inputs", type=int, default=16)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--cells", type=int, default=4)
    given = parser.parse_args()
    subject = load_subject(given.subject)
    generator = torch.Generator().manual_seed(SEED)
    rows = torch.randperm(len(subject.inputs), generator=generator)[: given.inputs]
    for line in table(subject, rows, given.cells, given.samples):
        print(line, flush=True)
    if "mask" in subject.truth:
        for line in two_regions(subject, rows, given.samples):
            print(line, flush=True)


if __name__ == "__main__":
    main()
