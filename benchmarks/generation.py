"""Generated features: yield and seconds per certified sample, beside the released procedure, in one run.

    python benchmarks/generation.py [--subject digits …] [--scenario null …] [--released 4] [--limit 300]
        [--seeds 0 1 2]

Rows, on the same model, machine and patch size: `constrained` (the default objective) and `dynamic` (Eq. 12
and 13 of [khakzar2022]) for one block of samples of each seed optimised side by side, and what stands in the
way of those that have no certificate; and `released`, one sample at a time
by its own procedure and stop rule plus the same certificate, as released and with the model frozen. Where no
sample was certified, the seconds are a lower bound.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.append(str(Path(__file__).parents[1] / "experiments"))

import torch
from released_procedure import opposite_corners, released
from torch import Tensor

from xattr_check import Subject, load_subject
from xattr_check.battery.battery import resolve_device
from xattr_check.core.run import Run
from xattr_check.generation import blocks
from xattr_check.generation.certify import DRAWS
from xattr_check.generation.explain import render_misses
from xattr_check.generation.generator import Maker
from xattr_check.generation.noise import calmed
from xattr_check.generation.optimisation import BLOCK
from xattr_check.generation.plan import Plan
from xattr_check.generation.scenarios import SCENARIOS, scenario
from xattr_check.storage.store import Store

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Row:
    """What one way of making samples came to."""

    way: str
    certified: int
    started: int
    seconds: float
    processor: float  # seconds of it, whoever else is at work
    steps: float = float("nan")  # of a certified sample, the mean
    misses: str = ""  # what stands in the way of the others

    def __str__(self) -> str:
        each = self.seconds / max(1, self.certified)
        sign = " " if self.certified else ">"
        return (
            f"  {self.way:<18} {self.certified:>4} of {self.started:<4} {self.certified / self.started:>5.0%}"
            f"   {self.seconds:>7.1f} s   {sign}{each:>8.2f} s each"
            f" ({self.processor / max(1, self.certified):.2f} of a processor)"
            f"   {self.steps:>5.0f} steps   {self.misses}"
        )


def batched(subject: Subject, name: str, objective: str, run: Run, seed: int, limit: float) -> Row:
    """One block, or what of it is certified in the time."""
    started, worked = time.perf_counter(), time.process_time()
    plan = Plan.of(subject, scenario(name), objective=objective, seed=seed)
    made = blocks.take(calmed(Maker(subject, plan, run)), 1, seconds=limit)
    steps = float(made.samples.steps.double().mean())
    misses = render_misses(made.misses, plan.scenario) if len(made.misses) else ""
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    return Row(objective, len(made.samples), made.started, seconds, processor, steps, misses)


def one_by_one(
    subject: Subject, name: str, run: Run, seed: int, count: int, limit: float, frozen: bool
) -> Row:
    """So many samples by the released procedure, or as many as fit into the time."""
    maker = Maker(subject, Plan.of(subject, scenario(name)), run)
    side, size = maker.plan.side, subject.spatial
    draws = torch.Generator().manual_seed(seed)

    def certified(patches: list[Tensor], classes: tuple[int, int]) -> bool:
        made = torch.stack(patches)[None]
        wanted = torch.tensor([classes])[:, : maker.plan.scenario.classes]
        seeds = torch.randint(2**62, (1,), generator=draws)
        references, places = maker.draw(seeds, DRAWS)
        if maker.plan.scenario.saturating:  # on the places that the procedure optimises for
            places = torch.tensor(opposite_corners(side, size[0])).expand_as(places)
        return bool(
            maker.stage.certify(made, wanted.to(made.device), references, places.to(made.device)).holds
        )

    started, worked, found, tried = time.perf_counter(), time.process_time(), 0, 0
    while tried < count and time.perf_counter() - started < limit:
        sample = released(
            subject, name, side, seed + tried,
            low=maker.low.flatten(), high=maker.high.flatten(), frozen=frozen, certified=certified,
        )  # fmt: skip
        found += sample.stopped
        tried += 1
    way = "released, frozen" if frozen else "released"
    return Row(way, found, tried, time.perf_counter() - started, time.process_time() - worked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--subject", nargs="+", default=["digits"], help="specs, such as benchmarks/small_models.py:texture"
    )
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--objective", nargs="+", default=["constrained", "dynamic"])
    parser.add_argument(
        "--released", type=int, default=4, help="samples by the released procedure; 0 for none"
    )
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each row of it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", type=int, default=256, help="MiB for a chunk")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for spec in arguments.subject:
        compare(load_subject(spec), arguments)


def compare(subject: Subject, arguments: argparse.Namespace) -> None:
    """Print the rows of one subject."""
    device = resolve_device(arguments.device)
    subject = subject.to(device)
    print(f"{subject.name} on {device}, {arguments.threads} threads, blocks of {BLOCK}, {DRAWS} draws")
    with tempfile.TemporaryDirectory() as folder:  # a store of its own: nothing is made beforehand
        run = Run(Store(Path(folder)), device=device, memory=arguments.memory * MEBIBYTE)
        for name in arguments.scenario:
            print(name, flush=True)
            rows = []
            for objective in arguments.objective:
                for seed in arguments.seeds:
                    rows.append(batched(subject, name, objective, run, seed, arguments.limit))
                    print(rows[-1], flush=True)
            for frozen in (False, True) if arguments.released else ():
                rows.append(
                    one_by_one(
                        subject, name, run, arguments.seeds[0], arguments.released, arguments.limit, frozen
                    )
                )
                print(rows[-1], flush=True)
            best, peer = rows[0], rows[-1]
            if arguments.released and best.certified:
                each = peer.seconds / max(1, peer.certified)
                sign = "" if peer.certified else "more than "
                times = each / (best.seconds / best.certified)
                print(f"  {best.way} makes a certified sample {sign}{times:.0f}× as fast as {peer.way}")


if __name__ == "__main__":
    main()
