"""Writes docs/published.md: what papers report about methods, and what comes out here.

    python benchmarks/published.py --data FOLDER [--seeds 0,1] [--write docs/published.md]

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
from torch import Tensor

import xattr_check
from xattr_check import Axiom, Method, Store, Subject, load_method, load_subject
from xattr_check.config.selection import select
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_check.statistics.intervals import ERROR_RATE, mean_interval
from xattr_check.statistics.similarity import spearman

SUBJECTS = Path(__file__).parent / "subjects.py"
IMAGES = 128  # test images of CIFAR-10 that each seed draws from
# Inputs of each seed, by the sanity checks and in the curves, and of each draw.
RANDOMISED, RANKED, BATCH = 32, 64, 32

HEADER = """
# Published results, measured again

<!-- Written by benchmarks/published.py. -->
A ResNet-20 on CIFAR-10 (91.6 % of the test images right) and the object network of `digits`, beside what
papers report of ResNet-50, VGG-16 and ResNet-8 on ImageNet and CIFAR-10: outcomes and orders can be
compared, figures cannot. Each seed draws other inputs of the first 128 test images: 32 for the sanity
checks, 64 for the curves. ± is the half-width of an interval at an error rate of one in a thousand. `open`:
the interval does not decide.
"""
SANITY_READING = """
The cascade is what was published [adebayo2018], and what *agree* compares. Of 28 rows 18 agree, 6 are open
after 32 inputs, and 4 do not agree: deconvnet. Its map is the same for all inputs of either network
(`depends_on_input` fails it), since neither has max pools, and without their places nothing of the input
enters; it is a map of the weights, and changes with them. Where it was seen to ignore the weights, the
networks had max pools.

Open on the ResNet-20 with either seed: deep Taylor, 0.3 against a gate of 0.35. It keeps 0.71 of its map
where the classifier is random, 0.40 where the last stage is as well, and 0.06 where all is (excitation
backpropagation 0.80, 0.57, 0.24; guided backpropagation 0.86, 0.76, 0.38; gradient 0.18, 0.03, 0.00): over
twenty layers with shortcuts even what was propagated by positive weights alone is lost in the end. Papers
read the beginning of the cascade; this check judges its mean.

Before these tables were made, the check compared signed maps as they are, with chance taken from the maps
before. Then deep Taylor came to −0.60 and passed, since its map has the sign of its logit, which random
weights change; excitation backpropagation to 0.30 and guided gradcam to 0.41 passed as well (gate 0.5),
since maps of unrelated inputs are more alike before randomisation than after it. Now a map and its negative
are the same, and chance is the similarity to the maps of other inputs of the same randomised network. lrp's
ε rule comes to 0.28 at most on both, and passes.

`data_randomization` needs a network trained on shuffled labels, which the ResNet-20 has not. On `digits` it
fails none of the methods: two trained networks have their filters in common.
"""
LERF_READING = """
Area under the fraction of the target's probability that is lost, or gained, while the least relevant pixels
become the data's mean; lower is better. The source, Table 2 of the appendix of [khakzar2021], has a
ResNet-8 and does not say how far it removes; its figures are a tenth of ours, so it is not to the end.

By magnitude, as sensitivities are ranked, the ResNet-20 contradicts none of the nine published pairs, and
agrees in six and seven of them; gradcam is best and the gradient last, as there. The rank correlation is
0.67 for one reason: guided backpropagation is ahead of integrated gradients and of input × gradient here,
by less than the interval, and behind them there. With their signs these two are the worst of all, since
evidence against the target is removed first, which changes the output at once: the source must have ranked
magnitudes. By regions of 4 × 4 pixels the order is the same with signs, 0.32, 0.42, 0.45, 0.48 and 0.47
(seed 0), so it is not a matter of single pixels. On `digits` all methods are near the floor.
"""
CURVES_READING = """
The source is Table 3 of the appendix of [zhang2021], with a VGG-16 on ImageNet and 2000 images.

Insertion comes in the published order (0.9 and 1.0), and no pair contradicts it. Deletion does not (−0.5
and −0.6): DeepSHAP and integrated gradients, the worst there, are the best here. What they remove is
scattered, and single pixels of another colour harm a network of 32 × 32 pixels more than one of 224 × 224,
where ten of them are a five-thousandth of the image. Removed by regions of 4 × 4 pixels
(`deletion?by=regions`, seeds 0 and 1), most of that is gone: DeepSHAP 0.26 and 0.24, integrated gradients
0.27 and 0.27, guided backpropagation 0.30 and 0.31, gradcam 0.34 and 0.32, no pair outside the interval.
Blurred pixels in place of the mean (`fill=blur`) leave 0.24 and 0.30, 0.28 and 0.35, 0.34 and 0.37, 0.39
and 0.39. On `digits`, guided backpropagation inserts better than gradcam, because it draws the digit.
"""

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
# 800 iterations, the default, take eight times as long.
SHORT = {"extremal_perturbation": "extremal_perturbation?iterations=100"}


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
    return load_method(f"xattr:{SHORT.get(name, name)}")


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


def judged(check: Axiom, samples: Tensor) -> tuple[str, str]:
    """`0.59 ± 0.06` and what the gate says of it."""
    outcome = check.gate.judge(samples, {}, check.estimate).outcome
    return figure(samples), outcome


def randomised(method: str, subject: Subject, run: Run) -> dict[str, Tensor]:
    """Samples of a method by the sanity checks that the subject allows."""
    known = xattr_check.checks()
    return {
        name: measured(known[name], loaded(method), subject, run, RANDOMISED)
        for name in SANITY_CHECKS
        if known[name].needs <= subject.offers
    }


def sanity(places: Mapping[str, tuple[Subject, Run]]) -> Iterator[str]:
    """A row for each method and place, and a column for each check; then whether it is what was published."""
    known = xattr_check.checks()
    yield from head("method", "published", "on", *SANITY_CHECKS, "agree")
    for method, published in SANITY.items():
        for place, (subject, run) in places.items():
            found = {
                name: judged(known[name], samples)
                for name, samples in randomised(method, subject, run).items()
            }
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


def document(places: Mapping[str, tuple[Subject, Run]]) -> Iterator[str]:
    yield from (HEADER.strip(), "", "## Sanity checks", "", *sanity(places), "", SANITY_READING.strip(), "")
    lerf, signed = "degradation?order=lerf", ("input_x_gradient", "integrated_gradients")
    yield from ("## Least relevant features first", "", *ranking(lerf, LERF, places, signed), "")
    yield from (LERF_READING.strip(), "", "## Insertion and deletion", "", "Insertion, higher is better:", "")
    yield from (*ranking("insertion", INSERTION, places), "", "Deletion, lower is better:", "")
    yield from (*ranking("deletion", DELETION, places), "", CURVES_READING.strip())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="the folder, XATTR_DATA where it is left out")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--write", type=Path, default=Path(__file__).parent.parent / "docs" / "published.md")
    arguments = parser.parse_args()
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
        arguments.write.write_text("\n".join(document(places)) + "\n")


if __name__ == "__main__":
    main()
