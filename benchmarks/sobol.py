"""Time to analyse many outputs on Saltelli's design, side by side with SALib: same numbers, same resamples.

    python benchmarks/sobol.py [--parameters 16,64,196] [--samples 64] [--resamples 100] [--outputs 1000]
        [--pairs]

SALib analyses one output at a time, parameter by parameter; where all of them would take more than --seconds,
it is given fewer outputs, and its time for all is extrapolated. Without SALib, ours alone is timed.
"""

import argparse
import importlib.util
import os
import time
from collections.abc import Callable

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import torch
from torch import Tensor

from xattr_check.statistics.sobol import resampled, saltelli, sobol_half_widths, sobol_indices

SEED = 1
TURNS = 3


def ours(outputs: Tensor, parameters: int, rows: Tensor, pairs: bool) -> list[Tensor]:
    """S₁, S_T, with pairs S_ij, and the half widths of their intervals, a row for each output."""
    found = sobol_indices(outputs, parameters, pairs=pairs)
    again = sobol_half_widths(outputs, parameters, resampled(rows), pairs=pairs)
    kinds = [one for both in (found, again) for one in (both.first, both.total, both.second)]
    return [one for one in kinds if one is not None]


def theirs(outputs: Tensor, parameters: int, resamples: int, pairs: bool) -> list[Tensor]:
    """The same by SALib, whose pairs are above the diagonal."""
    from SALib.analyze import sobol

    names = [f"x{k}" for k in range(parameters)]
    problem = {"num_vars": parameters, "names": names, "bounds": [[0.0, 1.0]] * parameters}
    found = [
        sobol.analyze(problem, one, calc_second_order=pairs, num_resamples=resamples, seed=SEED)
        for one in outputs.numpy()
    ]
    keys = [f"{key}{kind}" for kind in ("", "_conf") for key in ("S1", "ST", *(["S2"] if pairs else []))]
    return [torch.tensor(np.stack([one[key] for one in found])) for key in keys]


def timed(work: Callable[[], list[Tensor]]) -> tuple[float, list[Tensor]]:
    """Seconds of the processor, on one thread: others at work do not count."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def row(parameters: int, samples: int, resamples: int, count: int, seconds: float, pairs: bool) -> str:
    """One row of the table: the best of several turns of ours beside SALib's."""
    design = saltelli(parameters, samples, SEED, pairs=pairs)
    weights = torch.randn(count, parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs = weights @ design.T
    outputs = outputs + outputs.roll(1, 0) * outputs
    rows = np.random.default_rng(SEED).integers(samples, size=(samples, resamples))
    drawn = torch.from_numpy(rows.T.copy())
    mine, found = min(
        (timed(lambda: ours(outputs, parameters, drawn, pairs)) for _ in range(TURNS)),
        key=lambda turn: turn[0],
    )
    own = f"| {parameters} | {count} | {1000 * mine:.0f} |"
    if importlib.util.find_spec("SALib") is None:
        return f"{own} not installed | | | |"
    one, _ = timed(lambda: theirs(outputs[:1], parameters, resamples, pairs))
    some = max(2, min(count, int(seconds / one)))
    took, others = timed(lambda: theirs(outputs[:some], parameters, resamples, pairs))
    # What SALib leaves out, below the diagonal, is no number.
    gaps = [(a[:some] - b).abs().nan_to_num(0) for a, b in zip(found, others, strict=True)]
    gap = max(float(one.max()) for one in gaps)
    whole = took * count / some
    told = "all" if some == count else f"extrapolated from {some}"
    return f"{own} {1000 * whole:.0f} | {told} | {whole / mine:.0f} | {gap:.1e} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parameters", default="16,64,196")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--outputs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pairs", action="store_true", help="second-order indices as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"processor time of 1 thread, {given.samples} samples, {given.resamples} resamples")
    print("| D | outputs | ours, ms | SALib, ms | SALib on | times faster | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for parameters in map(int, given.parameters.split(",")):
        print(
            row(parameters, given.samples, given.resamples, given.outputs, given.seconds, given.pairs),
            flush=True,
        )


if __name__ == "__main__":
    main()
