"""Critical pathways beside Fig. 1 and 2 of [khakzar2021]: dead neurons among the chosen, and overlaps.

    python experiments/critical_pathways.py [--subject digits …] [--inputs 32] [--sparsity 0.9]
        [--iterations 1000]

For each selection, with the half-width of a 95 % interval over inputs: of how many neurons a pathway
consists, and the share of them that were dead before any was pruned, beside the paper's for VGG-16; then the
Jaccard overlap of all pairs, and of neuron_mct and neuron_intgrad call by call, from the input to the output.
The paper finds no dead ones in the pathways of contributions, those of dgr from ones near neuron_intgrad, and
an overlap of the two contributions that grows with depth.
"""

import argparse
import math
from itertools import combinations
from typing import Any

from torch import Tensor

from xattr_check import load_subject
from xattr_methods.pathways import Pathways, pathways

WAYS: dict[str, dict[str, Any]] = {
    "neuron_mct": {"selection": "neuron_mct"},
    "neuron_intgrad": {"selection": "neuron_intgrad"},
    "dgr(1)": {"selection": "dgr"},
    "dgr(r)": {"selection": "dgr", "start": "random"},
    "greedy_pruning": {"selection": "greedy_pruning"},
}
# Fig. 1, as far as the text gives numbers: VGG-16 on 1000 images of ImageNet, at a sparsity of 0.9.
PAPER = {"neuron_mct": "0", "neuron_intgrad": "0", "dgr(1)": "≈ 0.08", "greedy_pruning": "≈ 0.69"}


def shown(values: Tensor) -> str:
    """A mean and the half-width of its interval, over those inputs that have a value."""
    known = values[~values.isnan()]
    if len(known) < 2:
        return "–"
    return f"{float(known.mean()):.3f} ± {1.96 * float(known.std()) / math.sqrt(len(known)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subject", nargs="+", default=["digits"])
    parser.add_argument("--inputs", type=int, default=32)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--iterations", type=int, default=1000)
    arguments = parser.parse_args()
    for spec in arguments.subject:
        subject = load_subject(spec)
        given = (subject.model, subject.inputs[: arguments.inputs], subject.targets[: arguments.inputs])
        found: dict[str, Pathways] = {}
        print(f"\n{subject.name}, {len(given[1])} inputs, sparsity {arguments.sparsity:g}\n")
        print("| selection | neurons | originally dead | paper |\n|---|---|---|---|")
        for name, way in WAYS.items():
            found[name] = pathways(
                *given, sparsity=arguments.sparsity, iterations=arguments.iterations, **way
            )
            size, dead = found[name].size.double(), found[name].dead_share
            print(
                f"| {name} | {float(size.mean()):.0f} | {shown(dead)} | {PAPER.get(name, '')} |", flush=True
            )
        first = found["neuron_mct"]
        neurons = sum(one[0].numel() for one in first.active)
        active = sum(one.flatten(1).sum(1) for one in first.active) / neurons
        print(f"\n{neurons} neurons, active: {shown(active.double())}\n\n| pair | overlap |\n|---|---|")
        for one, other in combinations(found, 2):
            print(f"| {one}, {other} | {shown(found[one].overlap(found[other]))} |")
        by_call = first.overlap_by_call(found["neuron_intgrad"])
        print("\nneuron_mct, neuron_intgrad, call by call:")
        print(", ".join(f"{float(row.nanmean()):.2f}" for row in by_call))


if __name__ == "__main__":
    main()
