"""Writes docs/published.md, from the samples in docs/published.json; measures what is missing.

    python docs/make/published.py                                   # the page, from the figures as they are
    python docs/make/published.py --measure all --data FOLDER
    python docs/make/published.py --measure insertion,deletion --subjects digits --methods iba --anew

FOLDER, or the environment variable XATTR_DATA, holds the CIFAR-10 network and images of
benchmarks/subjects.py. All of it takes 35 minutes on one core; extremal perturbations, which take as long
again, are measured only where `--methods` names them. Figures are kept one after another, so that a run may
be killed; the next one goes on from there. With --anew, what has figures is measured once more.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from claims import Row, rows, short
from pages import DOCS, Stamp, write
from samples import (
    COARSE_INTGRAD,
    DEAD,
    INTGRAD,
    MCT,
    MEASURES,
    PATHWAYS,
    WAYS,
    Figures,
    Measuring,
    count_of,
    dump,
    gap,
    interval_of,
    key,
    samples_of,
)

from xattr_check.statistics.intervals import ERROR_RATE
from xattr_check.statistics.similarity import spearman

FIGURES = DOCS / "published.json"
# Whether each passes, after [adebayo2018] and those who went on from it; the last four by their own papers.
SANITY = {
    "gradient": "pass",
    "gradcam": "pass",
    "guided_backprop": "fail",
    "guided_gradcam": "fail",
    "deconvnet": "fail",
    "deep_taylor": "fail",
    "excitation_backprop": "fail",
    "iba": "pass",
    "input_iba": "pass",
    MCT: "pass",
    INTGRAD: "pass",
}
SANITY_CHECKS = ("parameter_randomization", "parameter_randomization_independent", "data_randomization")
# Table 2 of the appendix of [khakzar2021], CIFAR-10: lower is better.
LERF = {
    MCT: 0.009,
    INTGRAD: 0.009,
    "gradcam": 0.010,
    "input_x_gradient": 0.019,
    "integrated_gradients": 0.019,
    "guided_backprop": 0.028,
    "gradient": 0.037,
}
# Of the same table, areas under the accuracy: lower is better.
ROAR = {
    COARSE_INTGRAD: 0.574,
    MCT: 0.580,
    "gradcam": 0.584,
    "guided_backprop": 0.702,
    "input_x_gradient, magnitude": 0.723,
    "gradient": 0.728,
    "integrated_gradients, magnitude": 0.741,
}
# Table 3 of the appendix of [zhang2021], ImageNet: insertion, where higher is better, and deletion.
INSERTION = {
    "iba": 0.713,
    "input_iba": 0.710,
    "gradcam": 0.703,
    "extremal_perturbation": 0.676,
    "guided_backprop": 0.529,
    "deepshap": 0.430,
    "integrated_gradients": 0.358,
}
DELETION = {
    "input_iba": 0.045,
    "iba": 0.090,
    "guided_backprop": 0.132,
    "gradcam": 0.133,
    "extremal_perturbation": 0.135,
    "deepshap": 0.196,
    "integrated_gradients": 0.210,
}
# Table 2 of [zhang2021]: higher is better. Extremal perturbation has .421 there, and was not measured here.
HEAT_RATIO = {
    "input_iba": 0.476,
    "guided_backprop": 0.421,
    "iba": 0.356,
    "gradcam": 0.283,
    "deepshap": 0.183,
    "integrated_gradients": 0.155,
}
# Mean intersection over union on chest X-rays, [khakzar2021b].
IOU = {
    "multilayer_iba": 0.189,
    "gradient": 0.114,
    "iba": 0.114,
    "inverse_iba": 0.088,
    "gradcam": 0.077,
    "integrated_gradients": 0.076,
}
# What a ranking is called where its maps are ranked by their magnitude.
MAGNITUDE = ", magnitude"
PLACES = tuple((subject, seed) for subject in ("resnet20", "digits") for seed in (0, 1))
Entries = Mapping[str, Mapping[str, Any]]


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


def order(entries: Entries, published: Mapping[str, float]) -> Order:
    """Compare means, of the inputs that both have, pair by pair; published ties are no pairs."""
    names = list(published)
    means = torch.tensor([interval_of(entries[name]).value for name in names])
    said = torch.tensor([published[name] for name in names])
    counts, against = {"same": 0, "other": 0, "open": 0}, []
    pairs = [pair for pair in combinations(names, 2) if published[pair[0]] != published[pair[1]]]
    for one, two in pairs:
        rising = published[two] > published[one]
        found = gap(entries[two], entries[one], ERROR_RATE / len(pairs))
        found = found if rising else -found
        outcome = "same" if found.low > 0 else "other" if found.high < 0 else "open"
        counts[outcome] += 1
        if outcome == "other":
            against.append((one, two))
    return Order(float(spearman(means[None], said[None])), **counts, against=tuple(against))


def figure(entry: Mapping[str, Any], most: int = 0) -> str:
    """`0.452 ± 0.031 (16)`, the mean with its interval, and how many samples where others have more."""
    interval, count = interval_of(entry), count_of(entry)
    told = f"{interval.value:.3f} ± {interval.high - interval.value:.3f}"
    return f"{told} ({count})" if count < most else told


def line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def head(*cells: str) -> Iterator[str]:
    yield line(*cells)
    yield "|---" * len(cells) + "|"


def claimed(found: Sequence[Row]) -> Iterator[str]:
    """A row for each claim on each subject."""
    yield from head("claim", "there", "theirs", "on", "ours", "how far it holds, by seed", "verdict")
    for row in found:
        claim, verdict = row.claim, row.outcome
        margins = "; ".join(map(str, row.margins))
        shown = f"**{verdict}**" if verdict == "does not" else verdict
        yield line(claim.words, claim.there, claim.theirs, row.subject, row.ours, margins, shown)


def counted(found: Sequence[Row]) -> str:
    """`12 agree, 3 open, 4 do not, 1 not measured`."""
    words: dict[str, str] = {
        "agree": "agree",
        "open": "are open",
        "does not": "do not agree",
        "not measured": "were not measured",
    }
    counts = Counter[str](row.outcome for row in found)
    return ", ".join(f"{counts[outcome]} {told}" for outcome, told in words.items() if counts[outcome])


def contradicted(found: Sequence[Row]) -> Iterator[str]:
    """A line for each claim that does not hold."""
    for row in found:
        if row.outcome == "does not":
            yield f"- {row.claim.words} (`{row.subject}`): {row.ours}"


def judged(figures: Figures, check: str, subject: str, seed: int, method: str) -> tuple[str, str]:
    """`0.59 ± 0.06` and what the gate says of it, beside its references on the same networks."""
    axiom = MEASURES[check].axiom
    own = samples_of(figures[key(check, subject, seed, method)])
    beside = {name: samples_of(figures[key(check, subject, seed, name)]) for name in axiom.gate.references}
    common = min(len(one) for one in (own, *beside.values()))
    told = figure(figures[key(check, subject, seed, method)], max(map(len, beside.values())))
    others = {name: one[:common] for name, one in beside.items()}
    return told, axiom.gate.judge(own[:common], others, axiom.estimate).outcome


def sanity(figures: Figures) -> Iterator[str]:
    """A row for each method and place, and a column for each check; then whether it is what was published."""
    yield from head("method", "published", "on", *SANITY_CHECKS, "agree")
    for method, published in SANITY.items():
        for subject, seed in PLACES:
            found = {
                check: judged(figures, check, subject, seed, method)
                for check in SANITY_CHECKS
                if key(check, subject, seed, method) in figures
            }
            if SANITY_CHECKS[0] not in found:
                continue
            # The cascade is what was published.
            outcome = found[SANITY_CHECKS[0]][1]
            agree = "yes" if outcome == published else "open" if outcome == "undecided" else "**no**"
            cells = (" ".join(found[name]) if name in found else "" for name in SANITY_CHECKS)
            yield line(short(method), published, f"{subject}, seed {seed}", *cells, agree)


def ranking(
    figures: Figures, measure: str, published: Mapping[str, float], unsigned: Sequence[str] = ()
) -> Iterator[str]:
    """A row for each method and a column for each subject and seed; then how the orders compare.

    unsigned: methods that are ranked by their magnitude as well, and compared so in rows of their own.
    """
    names = [*published, *(name + MAGNITUDE for name in unsigned)]
    found = {
        (subject, seed): {
            name: figures[key(measure, subject, seed, name)]
            for name in names
            if key(measure, subject, seed, name) in figures
        }
        for subject, seed in PLACES
        if seed in MEASURES[measure].seeds and subject in MEASURES[measure].methods
    }
    most = max((count_of(one) for rest in found.values() for one in rest.values()), default=0)
    yield from head("", "published", *(f"{subject}, seed {seed}" for subject, seed in found))
    for name in names:
        number = published.get(name, published.get(name.removesuffix(MAGNITUDE)))
        cells = (figure(rest[name], most) if name in rest else "" for rest in found.values())
        yield line(short(name), f"{number:.3f}", *cells)
    for kind in ("", MAGNITUDE) if unsigned else ("",):
        orders = []
        for entries in found.values():
            chosen = {name: entries.get(name + kind, entries[name]) for name in published if name in entries}
            orders.append(order(chosen, {name: published[name] for name in chosen}))
        yield line(f"*rank correlation{kind}*", "", *(f"{one.rank:.2f}" for one in orders))
        pairs = (f"{one.same} / {one.open} / {one.other}" for one in orders)
        yield line(f"*pairs: same / open / other{kind}*", "", *pairs)
        against = (
            ", ".join(f"{short(one)} < {short(two)}" for one, two in found.against) or "none"
            for found in orders
        )
        yield line(f"*in the other order{kind}*", "", *against)


def selected(figures: Figures) -> Iterator[str]:
    """A row for each way to select neurons."""
    yield from head("selection", "dead, published", *(
        f"{told}, {subject}" for subject in PATHWAYS for told in ("dead", "shared with neuron_intgrad")
    ))  # fmt: skip
    for way in WAYS:
        cells = [
            figure(figures[name]) if (name := key(measure, subject, 0, way)) in figures else ""
            for subject in PATHWAYS
            for measure in ("dead", "overlap")
        ]
        yield line(way, DEAD.get(way, ""), *cells)


def tables(figures: Figures) -> dict[str, str]:
    """The tables of the page, by the names of their placeholders."""
    found = rows(figures)
    made = {
        "claims": claimed(found),
        "contradicted": contradicted(found),
        "sanity": sanity(figures),
        "lerf": ranking(figures, "lerf", LERF, ("input_x_gradient", "integrated_gradients")),
        "roar": ranking(figures, "roar", ROAR),
        "insertion": ranking(figures, "insertion", INSERTION),
        "deletion": ranking(figures, "deletion", DELETION),
        "printed": ranking(figures, "heat ratio by number", HEAT_RATIO),
        "heat": ranking(figures, "heat ratio", HEAT_RATIO),
        "iou": ranking(figures, "iou", IOU),
        "selected": selected(figures),
    }
    return {"counted": counted(found)} | {name: "\n".join(lines) for name, lines in made.items()}


def oldest(figures: Figures) -> Stamp:
    """The stamp of the figures that were measured first."""
    stamps = (Stamp(one["commit"], one["date"], one["changed"]) for one in figures.values())
    return min(stamps, key=lambda one: (one.date, not one.changed))


def split(text: str) -> list[str]:
    return list(filter(None, text.split(",")))


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="the folder, XATTR_DATA where it is left out")
    parser.add_argument("--measure", default="", metavar="NAMES", help="`all`, or some, commas between them")
    parser.add_argument("--subjects", default="", help="these alone")
    parser.add_argument("--methods", nargs="*", default=[], help="these alone, as in the figures")
    parser.add_argument("--seeds", default="", help="these alone")
    parser.add_argument("--anew", action="store_true", help="also what has figures")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no method is begun after them")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--write", type=Path, default=DOCS / "published.md")
    arguments = parser.parse_args(given)
    figures: Figures = json.loads(arguments.figures.read_text()) if arguments.figures.exists() else {}
    if arguments.measure:
        measuring = Measuring(
            figures,
            lambda: arguments.figures.write_text(dump(figures), encoding="utf-8"),
            data=arguments.data,
            measures=() if arguments.measure == "all" else split(arguments.measure),
            subjects=split(arguments.subjects),
            methods=arguments.methods,
            seeds=[int(seed) for seed in split(arguments.seeds)],
            anew=arguments.anew,
            until=time.time() + 60 * arguments.minutes,
        )
        with tempfile.TemporaryDirectory() as storage:
            measuring.measure(Path(storage))
    write(arguments.write, "published", oldest(figures), **tables(figures))


if __name__ == "__main__":
    main()
