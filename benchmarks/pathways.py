"""Time of pathway gradients: over that of the passes they need, and all inputs at once beside one at a time.

    python benchmarks/pathways.py [--subject digits] [--batch 32] [--steps 50] [--iterations 100]

Everything is timed in turns in one process, and the best of several turns counts. `passes` are those that a
selection cannot do without, as in benchmarks/methods.py: of neuron_mct one to score neurons and one for the
map, as of all; of neuron_intgrad one forward for each step and each call of an activation, and half the way
back, which is what lies behind a layer on average; of dgr one for each step; of greedy_pruning one for each
round that was needed. `memory` is what the process grew by at its peak, in MiB (Linux).
"""

import argparse
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# Before torch: threads that wait for each other leave the processors to what else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from methods import best_chunk, grown, passes, timed
from torch import Tensor, nn

from xattr_check import load_subject
from xattr_methods import pathway_gradient
from xattr_methods.pathways._neurons import activations_of

TURNS = 3


@dataclass(frozen=True)
class Row:
    """A selection with its parameters, and the passes that an input needs, with and without a way back.

    in_turn: whether each pass waits for the one before it.
    """

    selection: str
    backwards: float
    forwards: float = 0
    parameters: tuple[tuple[str, Any], ...] = ()
    in_turn: bool = False


def rows(model: nn.Module, inputs: Tensor, targets: Tensor, steps: int, iterations: int) -> Iterator[Row]:
    calls = len(activations_of(model, inputs[:1]))
    yield Row("neuron_mct", 2)
    half = steps * calls / 2
    yield Row("neuron_intgrad", half + 1, half, (("steps", steps),))
    yield Row("dgr", iterations + 1, 1, (("iterations", iterations),), True)
    rounds = counted(model, lambda: pathway_gradient(model, inputs, targets, selection="greedy_pruning"))
    yield Row("greedy_pruning", rounds, 0, (("rounds", 100),), True)


def counted(model: nn.Module, run: Callable[[], Any]) -> int:
    """How often a model is called with the largest batch that it is called with."""
    sizes: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    try:
        run()
    finally:
        handle.remove()
    return sizes.count(max(sizes))


def measured(row: Row, model: nn.Module, inputs: Tensor, targets: Tensor, chunks: tuple[int, int]) -> str:
    """A row of the table."""
    count, chunk = len(inputs), min(len(inputs), chunks[1]) if row.in_turn else chunks[1]
    given = {"selection": row.selection, **dict(row.parameters)}

    def necessary() -> None:
        passes(model, inputs, round(count * row.backwards), True, chunk)
        passes(model, inputs, round(count * row.forwards), False, chunks[0])

    def at_once() -> None:
        pathway_gradient(model, inputs, targets, **given)

    def one_at_a_time() -> None:
        for one, target in zip(inputs.split(1), targets.split(1), strict=True):
            pathway_gradient(model, one, target, **given)

    runs = {"passes": necessary, "at once": at_once, "in turn": one_at_a_time}
    turns = [{name: timed(run) for name, run in runs.items()} for _ in range(TURNS)]
    best = {name: min(turn[name] for turn in turns) for name in runs}
    memory = grown(at_once)
    named = ", ".join(f"{key}={value}" for key, value in row.parameters)
    return (
        f"| {row.selection} | {named} | {1000 * best['at once']:.0f} | "
        f"{best['at once'] / best['passes']:.2f} | {best['in turn'] / best['at once']:.1f} | "
        f"{'' if memory is None else f'{memory:.0f}'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", nargs="+", default=["digits"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=100)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for spec in arguments.subject:
        subject = load_subject(spec)
        model = subject.model
        inputs, targets = subject.inputs[: arguments.batch], subject.targets[: arguments.batch]
        chunks = (best_chunk(model, inputs, False), best_chunk(model, inputs, True))
        print(f"{subject.name}, {len(inputs)} inputs, {torch.get_num_threads()} threads\n")
        print("| selection | parameters | ms | over passes | one at a time | MiB |")
        print("|---|---|---|---|---|---|")
        for row in rows(model, inputs, targets, arguments.steps, arguments.iterations):
            print(measured(row, model, inputs, targets, chunks), flush=True)
        print()


if __name__ == "__main__":
    main()
