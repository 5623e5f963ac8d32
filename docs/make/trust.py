"""Writes docs/trust.md, from the runs in docs/trust.jsonl; measures those that are missing.

    python docs/make/trust.py                                   # the page, from the runs as they are
    python docs/make/trust.py --measure analytic,columns --seeds 5
    python docs/make/trust.py --measure digits --seeds 3 --settings seed,threads

Methods that are right on a subject, and controls, at the quick budget. Each run is a line that is written
when it is there, so that a measurement may be killed; the next one goes on from there. With --anew, what was
measured is measured once more.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from pages import DOCS, Stamp, write
from torch import Tensor, nn

import xattr_check
from xattr_check import Subject, load_subject, run_battery
from xattr_check.config.settings import Settings
from xattr_check.statistics.binomial import binomial_interval
from xattr_check.statistics.similarity import spearman

RUNS = DOCS / "trust.jsonl"
# By subject, the methods that are right on it and why.
PATH = "sums to the change of the output along a path, and is 0 where the model does not look"
REMOVED = "the change of the output where that much is removed"
RIGHT: dict[str, dict[str, str]] = {
    "analytic": {"oracle": "the closed form", "integrated_gradients": PATH, "occlusion": REMOVED},
    "columns": {"oracle": "the planted columns", "integrated_gradients": PATH, "occlusion": REMOVED},
    "beats": {"integrated_gradients": PATH, "occlusion": REMOVED},
    "digits": {"integrated_gradients": PATH, "occlusion": REMOVED},
    "bright": {"integrated_gradients?baseline=mean": PATH, "occlusion?baseline=mean": REMOVED},
    # Of integrated gradients even 5000 steps do not add up on this LSTM, and completeness says so.
    "reviews": {"shapley": "the mean change of the output over orders of removal", "occlusion": REMOVED},
}
CONTROLS = ("random", "edges", "input_magnitude", "center", "constant")
ERROR_RATE = 0.05
# Methods that a rank correlation takes.
LEAST = 4
# Cells on a side, MiB of a chunk and threads, where they are not as by default.
CELLS, MEMORY, THREADS = 3, 1, 2
# What a check says of a map; all else is that it says nothing.
JUDGED = frozenset({"pass", "fail", "undecided"})
SETTINGS = ("seed", "threads", "batch size", "fill", "grid")
# What changes how everything is computed: nothing that was kept without the change may be read.
APART = frozenset({"threads", "batch size"})
Line = dict[str, Any]


def lines(titles: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    parts = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in parts)


def share(ones: int, n: int) -> str:
    """`0 of 40, 0.0 % [0.0, 8.8]`."""
    if not n:
        return "none"
    found = binomial_interval(ones, n, ERROR_RATE)
    return f"{ones} of {n}, {100 * found.value:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def key_of(line: Mapping[str, Any]) -> tuple[str, str, str, int]:
    return line["subject"], line["method"], line["setting"], line["seed"]


def by_seed(runs: Sequence[Line]) -> list[Line]:
    """Those of right methods with nothing changed but the seed."""
    return [
        run for run in runs if run["setting"] == "seed" and run["method"] in RIGHT.get(run["subject"], {})
    ]


def alarms(runs: Sequence[Line]) -> str:
    """A row for each subject and one for all: wrong failures, flips and what is undecided in between."""
    chosen = by_seed(runs)
    subjects = list(dict.fromkeys(run["subject"] for run in chosen))

    def rows() -> Iterator[Sequence[str]]:
        for name, some in [*((one, [one]) for one in subjects), ("all", subjects)]:
            own = [run for run in chosen if run["subject"] in some]
            statuses = histories(own)
            verdicts = [status for history in statuses.values() for status in history]
            clusters = {(subject, method) for subject, method, _ in statuses}
            wrong = {key[:2] for key, history in statuses.items() if "fail" in history}
            several = [set(history) for history in statuses.values() if len(history) > 1]
            flips = sum({"pass", "fail"} <= history for history in several)
            moves = sum({"pass", "undecided"} <= history for history in several)
            yield [
                name,
                share(verdicts.count("fail"), len(verdicts)),
                share(len(wrong), len(clusters)),
                share(flips, len(several)),
                share(moves, len(several)),
            ]

    titles = ["subject", "false alarms", "clusters with one", "flips", "pass and undecided"]
    return lines(titles, rows())


def histories(runs: Sequence[Line]) -> dict[tuple[str, str, str], list[str]]:
    """What a required check says with each seed, where it says anything, by subject, method and check."""
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for run in runs:
        for check, (status, required, _) in run["verdicts"].items():
            if required and status in JUDGED:
                found[run["subject"], run["method"], check].append(status)
    return found


def by_check(runs: Sequence[Line]) -> str:
    """A row for each check that ever fails a right method or is undecided about it."""
    found: dict[str, list[str]] = defaultdict(list)
    for (_, _, check), history in histories(by_seed(runs)).items():
        found[check] += history
    troubled = {check: history for check, history in found.items() if set(history) != {"pass"}}
    if not troubled:
        return "Every required check that says anything of a right method passes it."
    return lines(
        ["check", "false alarms", "undecided"],
        (
            [f"`{name}`", *(share(history.count(one), len(history)) for one in ("fail", "undecided"))]
            for name, history in sorted(troubled.items())
        ),
    )


def failures(runs: Sequence[Line]) -> str:
    """A line for each wrong failure."""
    found = [
        f"- `{run['method']}` on `{run['subject']}`, seed {run['seed']}: {sentence}"
        for run in by_seed(runs)
        for sentence in run["failures"].values()
    ]
    return "\n".join(found) or "None."


def survival(runs: Sequence[Line]) -> str:
    """A row for each thing that is changed: how many verdicts it changes."""
    known = {key_of(run): run["verdicts"] for run in runs}

    def rows() -> Iterator[Sequence[str]]:
        for setting in SETTINGS[1:]:
            pairs = [
                (status, before[check][0])
                for (subject, method, changed, seed), verdicts in known.items()
                if changed == setting and (before := known.get((subject, method, "seed", seed)))
                for check, (status, _, _) in verdicts.items()
                if check in before and JUDGED & {status, before[check][0]}
            ]
            opposite = sum({*pair} == {"pass", "fail"} for pair in pairs)
            other = sum(one != two for one, two in pairs) - opposite
            yield [setting, share(opposite, len(pairs)), share(other, len(pairs))]

    return lines(["changed", "pass and fail exchanged", "another change of status"], rows())


def agreement(runs: Sequence[Line]) -> str:
    """The pairs of checks that agree most and least, with the mean of their rank correlations."""
    values: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    first: dict[str, int] = {}
    for run in runs:
        first[run["subject"]] = min(run["seed"], first.get(run["subject"], run["seed"]))
    for run in runs:
        if run["setting"] == "seed" and run["seed"] == first[run["subject"]]:
            for check, (_, _, value) in run["verdicts"].items():
                if value is not None:
                    values[run["subject"], check][run["method"]] = oriented(check, value)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (one, two), (other, three) in combinations(sorted(values), 2):
        common = sorted(values[one, two].keys() & values[other, three].keys())
        both = torch.tensor([[values[key][name] for name in common] for key in ((one, two), (other, three))])
        if one == other and len(common) >= LEAST and bool((both.std(1) > 0).all()):
            found[two, three].append(float(spearman(both[:1], both[1:])))
    ranked = sorted(found.items(), key=lambda pair: -sum(pair[1]) / len(pair[1]))
    if not ranked:
        return "Not measured."
    shown = ranked if len(ranked) <= 30 else [*ranked[:15], *ranked[-15:]]
    return lines(
        ["check", "and", "rank correlation", "subjects"],
        ([*pair, f"{sum(each) / len(each):.2f}", str(len(each))] for pair, each in shown),
    )


def oriented(check: str, value: float) -> float:
    """The statistic of a check, turned so that more is better."""
    known = xattr_check.checks().get(check)
    return value if known is None or known.gate.better == "higher" else -value


def right(runs: Sequence[Line]) -> str:
    """A line for each right method that was measured, with why it is right."""
    seen = Counter((run["subject"], run["method"]) for run in by_seed(runs))
    told = (
        f"- `{subject}`: `{method}`, {reason}; {seen[subject, method]} seeds"
        for subject, methods in RIGHT.items()
        for method, reason in methods.items()
        if (subject, method) in seen
    )
    return "\n".join(told)


def measure(given: str, method: str, setting: str, seed: int, storage: str, stamp: Stamp) -> Line | None:
    """What the checks say in one run; None where the subject has nothing to change of that kind."""
    subject, settings, checks = loaded(given), Settings(), None
    if setting == "batch size":
        settings = replace(settings, memory=MEMORY)
    if setting == "grid":
        changed = regrouped(subject)
        if changed is None:
            return None
        subject = changed
    if setting == "fill":
        checks = ",".join(refilled())
    threads, started = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(THREADS if setting == "threads" else threads)
    try:
        verdicts = run_battery(
            f"xattr:{method}", subject, checks=checks, seed=seed, storage=storage, settings=settings
        )
    finally:
        torch.set_num_threads(threads)
    told: dict[str, tuple[str, bool, float | None]] = {}
    failed: dict[str, str] = {}
    for one in verdicts:
        gates, value = one.required and not one.ungated, None if one.interval is None else one.interval.value
        told[one.check.partition("?")[0]] = one.status, gates, value
        if gates and one.status in ("fail", "error"):
            failed[one.check] = str(one)
    return {
        "subject": given,
        "method": method,
        "setting": setting,
        "seed": seed,
        "seconds": round(time.process_time() - started, 2),
        **asdict(stamp),
        "verdicts": told,
        "failures": failed,
    }


class Unscaled(nn.Module):
    """Images in [0, 1] as a network has them that was trained on others: low + (high − low) x."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, inputs: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * inputs


def bright() -> Subject:
    """The digits in [0, 1], where zero is black and not the mean, on a model that takes them back itself."""
    digits = load_subject("digits")
    low, high = float(digits.inputs.min()), float(digits.inputs.max())
    inputs = (digits.inputs - low) / (high - low)
    model = nn.Sequential(Unscaled(low, high), digits.model)
    return Subject("bright", model, inputs, digits.targets, truth=digits.truth, causal=digits.causal)


MADE = {"bright": bright}


@cache
def loaded(given: str) -> Subject:
    return MADE[given]() if given in MADE else load_subject(given)


def regrouped(subject: Subject) -> Subject | None:
    """The subject with coarser regions, None where its layout has no grid."""
    if subject.layout.name not in ("image", "signal"):
        return None
    return replace(subject, regions=subject.layout.regions(CELLS))


def refilled() -> Iterator[str]:
    """Checks of the quick budget that fill, each with a fill that it does not have by default."""
    for name, one in xattr_check.checks().items():
        if "fill" in one.options and one.cost == "quick":
            option = one.options["fill"]
            yield f"{name}?fill={'zero' if option.default != 'zero' else 'mean'}"
            assert "zero" in str(get_args(option.annotation))


def read(path: Path) -> list[Line]:
    """The runs of a file; a line that was cut off when a measurement was killed is left out."""
    found: dict[tuple[str, str, str, int], Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            line: Line = json.loads(text)
        except ValueError:
            continue
        found[key_of(line)] = line
    return list(found.values())


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", default="", metavar="SUBJECTS", help="with commas between")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="what is changed")
    parser.add_argument("--anew", action="store_true", help="also what was measured")
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--write", type=Path, default=DOCS / "trust.md")
    arguments = parser.parse_args(given)
    known = set() if arguments.anew else {key_of(run) for run in read(arguments.runs)}
    with tempfile.TemporaryDirectory() as storage:
        for subject in filter(None, arguments.measure.split(",")):
            stamp = Stamp.now("trust")
            for seed in range(arguments.seeds):
                for setting in arguments.settings.split(","):
                    # Controls are for the agreement of checks, which is of one seed.
                    others = CONTROLS if setting == "seed" and seed == 0 else ()
                    for method in (*RIGHT[subject], *others):
                        if (subject, method, setting, seed) in known:
                            continue
                        own = os.path.join(storage, setting if setting in APART else "all")
                        made = measure(subject, method, setting, seed, own, stamp)
                        if made is not None:
                            with arguments.runs.open("a", encoding="utf-8") as file:
                                file.write(json.dumps(made, ensure_ascii=False) + "\n")
    runs = read(arguments.runs)
    stamps = [Stamp(run["commit"], run["date"], run["changed"]) for run in runs]
    write(arguments.write, "trust", min(stamps, key=lambda one: one.date), **values(runs))


def values(runs: Sequence[Line]) -> dict[str, object]:
    """What the template asks for."""
    made = (right, alarms, by_check, failures, survival, agreement)
    return {one.__name__: one(runs) for one in made} | {"least": LEAST}


if __name__ == "__main__":
    main()
