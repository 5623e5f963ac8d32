"""Time of faithfulness checks: over that of the forwards they need, and over that of Quantus.

    pip install -e . quantus==0.6.0
    python benchmarks/checks.py [--inputs 64] [--turns 3] [--write docs/checks_speed.md]

Both judge the same maps of the same inputs on the same network, in one process and in turns; the best of
several turns counts. No time is counted for the maps: both are given them. Nothing is kept from turn to turn:
our store is empty at the start of each. `forwards` are those that the check cannot do without, alone, in
chunks of the size and in the memory format that are best for the model.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.append(str(Path(__file__).parents[1] / "docs" / "make"))

import numpy as np
import torch
from methods import best_chunk, passes
from pages import Stamp, write
from torch import Tensor, nn

from xattr_check import Measurement, Store, Subject, checks, load_method, load_subject
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw, Run

METHODS = (
    "gradient", "input_x_gradient", "integrated_gradients", "smoothgrad", "guided_backprop", "deconvnet",
    "gradcam", "deeplift", "lrp", "occlusion",
)  # fmt: skip
ONE = "integrated_gradients"
SIDE = 32
PLACES = 3 * SIDE * SIDE  # of an RGB image, each channel of each pixel by itself


class Grey(nn.Module):
    """A network of RGB images on grey ones, (N, 1, H, W): Quantus cannot impute other images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs.expand(-1, 3, -1, -1))


def grey(subject: Subject) -> Subject:
    return Subject("grey digits", Grey(subject.model), subject.inputs.mean(1, keepdim=True), subject.targets)


@dataclass(frozen=True)
class Entry:
    """A check and what Quantus has of the same name, at the same settings.

    parameters: of ours. forwards: of one input that it needs. metric, given, softmax: of Quantus.
    ours, theirs: the numbers to compare, one for each input or point, from our measurement and their scores.
    same: what is to be said about them. again: whether it is in the table already, and so not in the sum.
    """

    check: str
    parameters: Mapping[str, Any]
    forwards: int
    metric: str
    given: Mapping[str, Any]
    softmax: bool
    ours: Callable[[Measurement], Tensor]
    theirs: Callable[[Any], Any]
    same: str
    on_grey: bool = False
    again: bool = False

    @property
    def name(self) -> str:
        return f"{self.check}?{'&'.join(f'{key}={value}' for key, value in self.parameters.items())}"


# Quantus takes only steps of as many features as divide the pixels.
STEP, PARTS, SIZE = 128, 64, 0.02
FINE = 32
ZERO = {"perturb_baseline": 0.0}  # "black", which it is by default, is the smallest number of each input
ENTRIES = (
    Entry(
        "deletion", {"fill": "zero", "by": "channels", "steps": PLACES // STEP}, PLACES // STEP + 1,
        "PixelFlipping", {"features_in_step": STEP, **ZERO}, True,
        lambda found: found.evidence["curve"][:, 1:], np.array,
        "the same curves",
    ),
    Entry(
        "deletion", {"fill": "zero", "by": "pixels", "steps": SIDE * SIDE // FINE}, SIDE * SIDE // FINE + 1,
        "PixelFlipping", {"features_in_step": FINE, **ZERO}, True,
        lambda found: found.samples, lambda scores: np.mean(scores, axis=1),
        "not the same curves: Quantus flips single channels of pixels, and takes three times the forwards "
        "at the same step",
        again=True,
    ),
    Entry(
        "sensitivity_n", {"fill": "zero", "by": "channels", "subsets": PARTS}, 3 * PARTS + 1,
        "SensitivityN", {"features_in_step": 16, "n_max_percentage": 1.0, **ZERO}, False,
        lambda found: found.samples, np.array,
        "not the same thing: Quantus removes features in their order and correlates over inputs, not over "
        "random subsets of one input, and scores the first batch alone",
    ),
    Entry(
        "sensitivity_n", {"fill": "zero", "by": "pixels", "subsets": PARTS // 3}, PARTS,
        "SensitivityN", {"features_in_step": SIDE * SIDE // PARTS, "n_max_percentage": 1.0, **ZERO}, False,
        lambda found: found.samples, np.array,
        "as many sets of pixels as Quantus is asked for steps of pixels; it takes three times the forwards, "
        "since it removes single channels",
        again=True,
    ),
    Entry(
        "faithfulness_correlation",
        {"fill": "zero", "by": "channels", "size": SIZE, "subsets": PARTS}, PARTS + 1,
        "FaithfulnessCorrelation", {"nr_runs": PARTS, "subset_size": round(SIZE * PLACES), **ZERO}, False,
        lambda found: found.samples, np.array,
        "the same but for the random subsets",
    ),
    Entry(
        "infidelity", {"fill": "zero", "parts": PARTS}, PARTS + 1,
        "Infidelity", {"perturb_patch_sizes": [4], **ZERO}, False,
        lambda found: found.samples, np.array,
        "not the same number: Quantus does not scale the map, lets its perturbations add up, and evaluates "
        "the same 64 of them ten times",
    ),
    Entry(
        "road", {"output": "correct"}, 5,
        "ROAD", {"percentages": [10, 30, 50, 70, 90]}, True,
        lambda found: found.evidence["curve"].mean(0), lambda scores: np.array(list(scores.values())),
        "the same accuracies but for the noise; Quantus scores the first batch alone, and grey images",
        True,
    ),
)  # fmt: skip


def measure(entry: Entry, subject: Subject, maps: Sequence[Tensor], folder: Path) -> list[Measurement]:
    """Our measurements of all maps of all inputs, with nothing in the store."""
    check = checks()[entry.check].with_parameters(entry.parameters)
    run = Run(store=Store(Path(tempfile.mkdtemp(dir=folder))), batch=len(subject.inputs))
    draw = Draw(run, subject, torch.arange(len(subject.inputs)), 0)
    found = []
    for number, one in enumerate(maps):
        method = replace(load_method(given(one)), name=str(number))
        found.append(check(Explainer.of(method, subject, run), subject, draw))
    return found


def given(maps: Tensor) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """A method that knows its maps."""
    return lambda model, inputs, targets: maps


def quantus(entry: Entry, subject: Subject, maps: Sequence[Tensor]) -> list[Any]:
    """The scores of Quantus for all maps of all inputs."""
    import quantus

    settings = {
        "disable_warnings": True, "normalise": False, "abs": False, "return_aggregate": False, **entry.given,
    }  # fmt: skip
    inputs, targets = subject.inputs.numpy(), subject.targets.numpy()
    return [
        getattr(quantus, entry.metric)(**settings)(
            subject.model, inputs, targets, one.numpy(), device="cpu", batch_size=64, softmax=entry.softmax
        )
        for one in maps
    ]


def best(runs: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Seconds of each in the best of several turns."""
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(turns):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            found[name] = min(found[name], time.perf_counter() - started)
    return found


def timings(
    entry: Entry,
    subject: Subject,
    own: Sequence[Tensor],
    theirs: Sequence[Tensor],
    first: int,
    chunk: int,
    turns: int,
    folder: Path,
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the forwards, of ours and of Quantus, for the map of one method and for all of them."""
    alone = slice(first, first + 1)
    one: dict[str, Callable[[], Any]] = {
        "forwards": lambda: passes(
            subject.model, subject.inputs, len(subject.inputs) * entry.forwards, False, chunk
        ),
        "ours": lambda: measure(entry, subject, own[alone], folder),
        "quantus": lambda: quantus(entry, subject, theirs[alone]),
    }
    ten: dict[str, Callable[[], Any]] = {
        "ours": lambda: measure(entry, subject, own, folder),
        "quantus": lambda: quantus(entry, subject, theirs),
    }
    return best(one, turns), best(ten, 1)


def compared(entry: Entry, ours: Measurement, theirs: Any) -> str:
    mine, other = entry.ours(ours).double().numpy(), np.asarray(entry.theirs(theirs), dtype=float)
    means = f"{mine.mean():.3f}, {np.mean(other):.3f}"
    if mine.shape != other.shape:
        return means
    return f"{means}; differ by {np.abs(mine - other).max():.1g} at most"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    stamp = Stamp.now("checks_speed")
    warnings.simplefilter("ignore")
    lines: list[str] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    whole = load_subject("digits")
    count = arguments.inputs
    colour = Subject("digits", whole.model, whole.inputs[:count], whole.targets[:count])
    subjects = {False: colour, True: grey(colour)}
    maps = {
        kind: [load_method(f"xattr:{name}")(one.model, one.inputs, one.targets) for name in METHODS]
        for kind, one in subjects.items()
    }
    spread = {kind: [one.expand_as(subjects[kind].inputs) for one in own] for kind, own in maps.items()}
    chunk = best_chunk(colour.model, colour.inputs, False)
    say(f"{count} inputs of digits, {torch.get_num_threads()} threads, forwards in chunks of {chunk}.")
    say()
    say("| check | Quantus | forwards | ms | over forwards | Quantus over ours | for ten methods |")
    say("|---|---|---|---|---|---|---|")
    first = METHODS.index(ONE)
    totals = {"ours": 0.0, "quantus": 0.0}
    numbers: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for entry in ENTRIES:
            subject, own = subjects[entry.on_grey], maps[entry.on_grey]
            theirs = spread[entry.on_grey]
            one, ten = timings(entry, subject, own, theirs, first, chunk, arguments.turns, folder)
            for side, seconds in ten.items():
                totals[side] += 0 if entry.again else seconds
            say(
                f"| {entry.name} | {entry.metric} | {entry.forwards} | {1000 * one['ours']:.0f} | "
                f"{one['ours'] / one['forwards']:.2f} | {one['quantus'] / one['ours']:.1f} | "
                f"{ten['quantus'] / ten['ours']:.1f} |"
            )
            found = compared(
                entry,
                measure(entry, subject, own[first : first + 1], folder)[0],
                quantus(entry, subject, theirs[first : first + 1])[0],
            )
            numbers.append(f"- {entry.name}: {entry.same}. Means: {found}.")
        say(f"| all five | | | | | | {totals['quantus'] / totals['ours']:.1f} |")
    say()
    say(f"## Numbers, of {ONE}")
    say()
    say("\n".join(numbers))
    say()
    say("With " + ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "quantus")) + ".")
    if arguments.write:
        write(arguments.write, "checks_speed", stamp, figures="\n".join(lines))


if __name__ == "__main__":
    main()
