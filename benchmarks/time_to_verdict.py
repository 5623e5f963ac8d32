"""Time to a verdict on deletion, beside Quantus' pixel flipping with one feature in a step.

    pip install -e . quantus==0.6.0
    python benchmarks/time_to_verdict.py [--inputs 16]

Ours stops drawing inputs once its verdict is clear, with the controls measured from an empty store; the full
run of Quantus flips every channel of every pixel of so many inputs. Both are given the maps. Processor time
of one thread, so that another load on the machine does not count; channels of pixels, and zero as the fill,
so that both rank the same thing.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from checks import METHODS, ZERO, Entry, quantus
from scipy.stats import spearmanr
from torch import Tensor, nn

from xattr_check import Method, Store, Subject, checks, load_method, load_subject
from xattr_check.battery.battery import Beside, item
from xattr_check.config.settings import Settings
from xattr_check.core.run import BUDGETS, Run

CHECK = checks()["deletion"].with_parameters({"fill": "zero", "by": "channels"})
FULL = Entry(
    "deletion", {}, 0, "PixelFlipping", {"features_in_step": 1, **ZERO}, True, lambda found: found.samples,
    np.array, "",
)  # fmt: skip


def known(name: str, subject: Subject, maps: Tensor) -> Method:
    """A method that knows its maps of the subject's inputs."""
    rows = {one.numpy().tobytes(): row for one, row in zip(subject.inputs, maps, strict=True)}

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.stack([rows[one.numpy().tobytes()] for one in inputs])

    explain.__name__ = name
    return load_method(explain)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=16, help="of Quantus")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    digits = load_subject("digits")
    # The first draw's inputs come first, so that both judge them.
    run = Run(store=Store(Path(tempfile.mkdtemp())))
    order = torch.cat([draw.indices for draw in run.draws("deletion", digits, CHECK.inputs)])
    order = order[: BUDGETS["quick"]]
    drawn = Subject("drawn", digits.model, digits.inputs[order], digits.targets[order])
    few = Subject("few", digits.model, *(rows[: arguments.inputs] for rows in (drawn.inputs, drawn.targets)))
    print("| method | verdict | inputs | seconds | figure | Quantus, seconds | figure |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for name in METHODS:
        explain = load_method(f"xattr:{name}").bind(digits)
        maps = explain(digits.model, drawn.inputs, drawn.targets).detach().expand_as(drawn.inputs)
        method = known(name, drawn, maps)
        started = time.process_time()
        verdict = item(Settings(), method, CHECK, digits, Beside.installed()).judge(run)
        ours = time.process_time() - started
        started = time.process_time()
        curves = quantus(FULL, few, [maps[: arguments.inputs]])[0]
        theirs = time.process_time() - started
        assert verdict.interval is not None
        rows.append((verdict.interval.value, float(np.mean(curves)), ours, theirs))
        print(
            f"| {name} | {verdict.status} | {verdict.n} | {ours:.2f} | {verdict.interval} | {theirs:.1f} | "
            f"{np.mean(curves):.3f} |",
            flush=True,
        )
    figures, full, ours_all, theirs_all = (list(column) for column in zip(*rows, strict=True))
    print()
    print(f"Ratio of times, all methods: {sum(theirs_all) / sum(ours_all):.0f}")
    print(f"Rank correlation of the figures: {spearmanr(figures, full).statistic:.2f}")


if __name__ == "__main__":
    main()
