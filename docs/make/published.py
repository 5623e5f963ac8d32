"""Writes docs/published.md: what papers report about methods, and what comes out here.

    python docs/make/published.py --data FOLDER [--seeds 0,1] [--write docs/published.md]

FOLDER, or the environment variable XATTR_DATA, holds the CIFAR-10 network and images of
benchmarks/subjects.py. Half an hour on one core.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, islice
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from pages import DOCS, ROOT, Stamp, write
from torch import Tensor

import xattr_check
from xattr_check import Axiom, Method, Store, Subject, load_method, load_subject
from xattr_check.config.selection import select
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_check.statistics.intervals import ERROR_RATE, mean_interval
from xattr_check.statistics.similarity import spearman

SUBJECTS = ROOT / "benchmarks" / "subjects.py"
IMAGES = 128  # test images of CIFAR-10 that each seed draws from
# Inputs of each seed, by the sanity checks and in the curves, and of each draw.
RANDOMISED, RANKED, BATCH = 32, 64, 32


# Whether each passes, after [adebayo2018] and those who went on from it.
SANITY = {
    "gradient": "pass",
    "gradcam": "pass",
    "guided_backprop": "fail",
    "guided_gradcam": "fail",
    "deconvnet": "fail",
    "deep_taylor": "fail",
    "excitation_backprop": "fail",
}
SANITY_CHECKS = ("parameter_randomization", "parameter_randomization_independent", "data_randomization")
# Table 2 of the appendix of [khakzar2021], CIFAR-10: lower is better.
LERF = {
    "gradcam": 0.010,
    "input_x_gradient": 0.019,
    "integrated_gradients": 0.019,
    "guided_backprop": 0.028,
    "gradient": 0.037,
}
# Table 3 of the appendix of [zhang2021], ImageNet: insertion, where higher is better, and deletion.
INSERTION = {
    "gradcam": 0.703,
    "extremal_perturbation": 0.676,
    "guided_backprop": 0.529,
    "deepshap": 0.430,
    "integrated_gradients": 0.358,
}
DELETION = {
    "guided_backprop": 0.132,
    "gradcam": 0.133,
    "extremal_perturbation": 0.135,
    "deepshap": 0.196,
    "integrated_gradients": 0.210,
}


@dataclass(frozen=True)
class Order:
    """How measured figures go with published ones.

    rank: rank correlation of the means with the published figures.
    same, other, open: how many pairs come in the published order, in the other, or in none for sure.
    against: pairs in the other order, as (published better, published worse).
    """

    rank: float
    same: int
    other: int
    open: int
    against: tuple[tuple[str, str], ...]


def order(samples: Mapping[str, Tensor], published: Mapping[str, float]) -> Order:
    """Compare means of samples (n,), of the same inputs, pair by pair; published ties are no pairs."""
    names = list(published)
    means = torch.stack([samples[name].mean() for name in names])
    said = torch.tensor([published[name] for name in names])
    counts, against = {"same": 0, "other": 0, "open": 0}, []
    pairs = [pair for pair in combinations(names, 2) if published[pair[0]] != published[pair[1]]]
    for one, two in pairs:
        sign = 1.0 if published[two] > published[one] else -1.0
        gap = mean_interval(sign * (samples[two] - samples[one]), ERROR_RATE / len(pairs))
        found = "same" if gap.low > 0 else "other" if gap.high < 0 else "open"
        counts[found] += 1
        if found == "other":
            against.append((one, two))
    return Order(float(spearman(means[None], said[None])), **counts, against=tuple(against))


@cache
def loaded(name: str) -> Method:
    """The reference method of that name, the same object each time: a run computes its maps once."""
    return load_method(f"xattr:{name}")


@cache
def magnitude(name: str) -> Method:
    """A method whose maps are ranked by their magnitude."""
    return Method(f"{name}, magnitude", loaded(name).function, sensitivity=True)


def measured(check: Axiom, method: Method, subject: Subject, run: Run, inputs: int) -> Tensor:
    """(inputs,) samples, whatever the verdict would be after fewer."""
    draws = islice(run.draws(check.name, subject, BATCH), inputs // BATCH)
    explainer = Explainer.of(method, subject, run)
    return torch.cat([check(explainer, subject, draw).samples for draw in draws])


def rows(check: Axiom, methods: Sequence[Method], subject: Subject, run: Run) -> dict[str, Tensor]:
    """(RANKED,) by the name of each method, on the same inputs, whatever the verdict would be."""
    found: dict[str, Tensor] = {}
    for method in methods:
        started = time.process_time()
        name = method.name.removeprefix("xattr:").partition("?")[0]
        found[name] = measured(check, method, subject, run, RANKED)
        seconds = time.process_time() - started
        print(f"{seconds:5.0f} s  seed {run.seed}  {check.name}  {name}", file=sys.stderr, flush=True)
    return found


def figure(samples: Tensor) -> str:
    """`0.452 ± 0.031`, the mean with its interval."""
    interval = mean_interval(samples, ERROR_RATE)
    return f"{interval.value:.3f} ± {interval.high - interval.value:.3f}"


def line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def head(*cells: str) -> Iterator[str]:
    yield line(*cells)
    yield "|---" * len(cells) + "|"


def judged(check: Axiom, method: str, subject: Subject, run: Run) -> tuple[str, str]:
    """`0.59 ± 0.06` and what the gate says of it, beside its references on the same networks."""
    samples, *others = (
        measured(check, loaded(name), subject, run, RANDOMISED) for name in (method, *check.gate.references)
    )
    beside = dict(zip(check.gate.references, others, strict=True))
    return figure(samples), check.gate.judge(samples, beside, check.estimate).outcome


def randomised(method: str, subject: Subject, run: Run) -> dict[str, tuple[str, str]]:
    """What `judged` says of a method, by the sanity checks that the subject allows."""
    known = xattr_check.checks()
    return {
        name: judged(known[name], method, subject, run)
        for name in SANITY_CHECKS
        if known[name].needs <= subject.offers
    }


def sanity(places: Mapping[str, tuple[Subject, Run]]) -> Iterator[str]:
    """A row for each method and place, and a column for each check; then whether it is what was published."""
    yield from head("method", "published", "on", *SANITY_CHECKS, "agree")
    for method, published in SANITY.items():
        for place, (subject, run) in places.items():
            found = randomised(method, subject, run)
            cells = (" ".join(found[name]) if name in found else "" for name in SANITY_CHECKS)
            # The cascade is what was published.
            outcome = found[SANITY_CHECKS[0]][1]
            agree = "yes" if outcome == published else "open" if outcome == "undecided" else "**no**"
            yield line(method, published, place, *cells, agree)


def ranking(
    spec: str,
    published: Mapping[str, float],
    places: Mapping[str, tuple[Subject, Run]],
    unsigned: Sequence[str] = (),
) -> Iterator[str]:
    """A row for each method and a column for each subject and run; then how the orders compare.

    unsigned: methods that are ranked by their magnitude as well, and compared so in rows of their own.
    """
    check = select(spec, xattr_check.checks(), "full")[0]
    names = list(published)
    methods = [loaded(name) for name in names] + [magnitude(name) for name in unsigned]
    found = {place: rows(check, methods, subject, run) for place, (subject, run) in places.items()}
    if spec.endswith("order=lerf"):  # the check's figure is one less the area, so that higher is better
        found = {place: {name: 1 - values for name, values in rest.items()} for place, rest in found.items()}
    yield from head("", "published", *found)
    for name in next(iter(found.values())):
        number = f"{published[name.partition(',')[0]]:.3f}"
        yield line(name, number, *(figure(place[name]) for place in found.values()))
    for kind in ("", ", magnitude") if unsigned else ("",):
        orders = [
            order({name: place.get(name + kind, place[name]) for name in names}, published)
            for place in found.values()
        ]
        yield line(f"*rank correlation{kind}*", "", *(f"{one.rank:.2f}" for one in orders))
        pairs = (f"{one.same} / {one.open} / {one.other}" for one in orders)
        yield line(f"*pairs: same / open / other{kind}*", "", *pairs)
        against = (", ".join(f"{one} < {two}" for one, two in found.against) or "none" for found in orders)
        yield line(f"*in the other order{kind}*", "", *against)


def tables(places: Mapping[str, tuple[Subject, Run]]) -> dict[str, str]:
    """The tables of the page, by the names of their placeholders."""
    found = {
        "sanity": sanity(places),
        "lerf": ranking("degradation?order=lerf", LERF, places, ("input_x_gradient", "integrated_gradients")),
        "insertion": ranking("insertion", INSERTION, places),
        "deletion": ranking("deletion", DELETION, places),
    }
    return {name: "\n".join(lines) for name, lines in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="the folder, XATTR_DATA where it is left out")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--write", type=Path, default=DOCS / "published.md")
    arguments = parser.parse_args()
    stamp = Stamp.now("published")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    given = f"?n={IMAGES}" + (f"&data={arguments.data}" if arguments.data else "")
    subjects = [load_subject(f"{SUBJECTS}:resnet20{given}"), load_subject("digits")]
    with tempfile.TemporaryDirectory() as storage:
        # One run for each, so that maps are computed once.
        places = {
            f"{subject.name}, seed {seed}": (subject, Run(store=Store(Path(storage)), seed=seed))
            for subject in subjects
            for seed in seeds
        }
        write(arguments.write, "published", stamp, **tables(places))


if __name__ == "__main__":
    main()
