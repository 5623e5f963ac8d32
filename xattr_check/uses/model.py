"""What networks use: their regions, their background, their colours, side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xattr_check.core.layouts import Beside, Columns
from xattr_check.core.subject import Subject
from xattr_check.errors import Declined, UsageError
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.uses.regions import PAIRS, Asked, Pair, Ratios, pair, ratios

MODEL = "model"
GRIDS, INPUTS, SAMPLES = (4, 8), 8, 64
# Regions that a share of a variance can be divided among.
LEAST = 2
# By so much a ratio may leave 0 to 1, where it is, before it is said that its samples are too few.
LARGEST_ERROR = 0.25


@dataclass(frozen=True, eq=False)
class Use:
    """What one network uses.

    name: `model`, or a sibling's. ratios: by partition into regions. pairs: of two regions each.
    """

    name: str
    ratios: tuple[Ratios, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, eq=False)
class ModelReport:
    """What the networks of a subject use, on the same inputs and at the same gains.

    inputs: how many. samples: of each design. networks: the subject's model first. notes: why something does
    not apply, a sentence each.
    """

    subject: str
    inputs: int
    samples: int
    seed: int
    networks: tuple[Use, ...]
    notes: tuple[str, ...]

    def __getitem__(self, network: str) -> Use:
        return {one.name: one for one in self.networks}[network]

    def document(self) -> dict[str, Any]:
        """The same for machines."""
        head = {name: getattr(self, name) for name in ("subject", "inputs", "samples", "seed")}
        return {**head, "networks": [_document(one) for one in self.networks], "notes": list(self.notes)}


def model_report(
    subject: Subject,
    *,
    networks: Sequence[str] | None = None,
    grids: Sequence[int] = GRIDS,
    inputs: int = INPUTS,
    samples: int = SAMPLES,
    seed: int = 0,
    memory: int = MEMORY,
    watch: Callable[[int, int], None] | None = None,
) -> ModelReport:
    """What a subject's model and its siblings use of the inputs: shares of the variance of their outputs.

    Regions of the same inputs fade in and out at independent gains, between absent, the data's mean or the
    word for none, and twice their contrast [sbsa2022]. Of grids of images, signals and volumes, of columns
    and of tokens, the ratio S₁/S_T over the fifth with the largest S_T: the less, the more regions count
    together. Of two regions, background and foreground where the subject has a `mask`, luminance and
    chroma of images in colour, the shares of each, alone and together.

    networks: `model`, and names of siblings; all by default. grids: cells on a side of each.
    inputs: how many of the subject's, drawn at random. samples: N, a power of two; each input takes
    N (D + 2) forward passes for D regions.
    memory: bytes that a chunk of inputs and its activations may take. watch: called with how many of the
    designs are done, and of how many.
    Raises UsageError for what cannot be resolved.
    """
    asked = asked_of(subject, grids, inputs, samples, seed, memory)
    chosen = networks_of(subject, networks)
    partitions, notes = partitions_of(asked, [*specs_of(subject, grids), *pairs_of(subject)])
    total, done = len(chosen) * len(partitions) * len(asked.index), 0

    def step() -> None:
        nonlocal done
        done += 1
        if watch is not None:
            watch(done, total)

    uses = []
    for name, network in chosen.items():
        many, pairs = [], []
        for spec, regions in partitions.items():
            outputs = asked.outputs(network, regions, step)
            if spec in PAIRS:
                pairs.append(pair(spec, outputs))
            else:
                many.append(ratios(spec, regions.count, outputs))
        uses.append(Use(name, tuple(many), tuple(pairs)))
    found_notes = (*notes, *_silent(uses), *_impossible(uses, samples))
    return ModelReport(subject.name, len(asked.index), samples, seed, tuple(uses), found_notes)


def asked_of(
    subject: Subject, grids: Sequence[int], inputs: int, samples: int, seed: int, memory: int
) -> Asked:
    """So many of a subject's inputs, drawn at random. Raises UsageError for what cannot be asked."""
    if not isinstance(subject, Subject):
        hint = f"load_subject({subject!r}) makes one" if isinstance(subject, str) else ""
        raise UsageError(option="subject", expected="a Subject", came=repr(subject), hint=hint)
    _expect(samples >= 2 and not samples & (samples - 1), "samples", samples, "a power of two, 2 or more")
    _expect(inputs >= 1, "inputs", inputs, "at least 1")
    _expect(all(grid >= 1 for grid in grids), "grids", list(grids), "cells of at least 1")
    order = torch.randperm(len(subject.inputs), generator=torch.Generator().manual_seed(seed))
    return Asked(subject, order[:inputs], samples, seed, memory)


def partitions_of(asked: Asked, specs: Sequence[str]) -> tuple[dict[str, SemanticMap], list[str]]:
    """The regions that specs ask for, those that there are and differ; and notes, why others are not."""
    partitions: dict[str, SemanticMap] = {}
    notes = []
    for spec in specs:
        try:
            found = asked.regions(spec)
        except Declined as error:
            notes.append(_note(asked.subject, spec, error))
            continue
        same = [name for name, one in partitions.items() if torch.equal(one.index, found.index)]
        if found.count < LEAST:
            notes.append(f"{spec}: {found.count} region, where a share takes {LEAST} at least")
        elif same:
            notes.append(f"{spec}: the {found.count} regions are those of {same[0]}")
        else:
            partitions[spec] = found
    return partitions, notes


def networks_of(subject: Subject, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """The networks of a subject by name, those that are named. Raises UsageError."""
    known: dict[str, nn.Module] = {MODEL: subject.model, **subject.siblings}
    if names is None:
        return known
    names = [names] if isinstance(names, str) else names
    for name in names:
        _expect(name in known, "networks", name, f"some of {', '.join(known)}")
    _expect(bool(names), "networks", list(names), f"some of {', '.join(known)}")
    return {name: known[name] for name in known if name in names}


def specs_of(subject: Subject, grids: Sequence[int]) -> list[str]:
    """Partitions into regions that a subject's layout has: grids, or columns or tokens."""
    if isinstance(subject.layout, Beside):
        return [f"grid:{cells}" for cells in dict.fromkeys(grids)]
    return ["columns" if isinstance(subject.layout, Columns) else "tokens"]


def pairs_of(subject: Subject) -> list[str]:
    """Partitions into two regions that may be asked for: columns and words have no colour, nor a ground."""
    known = isinstance(subject.layout, Beside) or "mask" in subject.truth
    return [spec for spec in PAIRS if (spec == "mask" and known) or subject.layout.name == "image"]


def _expect(holds: bool, option: str, value: object, expected: str) -> None:
    if not holds:
        raise UsageError(option=option, value=value, expected=expected)


def _note(subject: Subject, spec: str, error: Declined) -> str:
    """Why a subject has no such regions."""
    if spec == "mask":
        return (
            f"mask: what is foreground is not known of {subject.name}; give it "
            "Subject(…, truth={'mask': mask}), (N, *spatial) bool, what makes the target"
        )
    return f"{spec}: {error}"


def _silent(uses: Sequence[Use]) -> Iterator[str]:
    """What is said of networks that do not answer to any region on some inputs."""
    for use in uses:
        for one in use.ratios:
            missing = len(one.top.parts) - one.top.count
            if missing:
                yield (
                    f"{use.name}, {one.regions}: the output is the same whichever regions fade on {missing} "
                    f"of {len(one.top.parts)} inputs, which do not count"
                )


def _impossible(uses: Sequence[Use], samples: int) -> Iterator[str]:
    """What is said of ratios that no share can be, which are errors of too few samples."""
    for use in uses:
        for one in use.ratios:
            value = one.top.interval.value
            if one.top.count and not -LARGEST_ERROR <= value <= 1 + LARGEST_ERROR:
                yield (
                    f"{use.name}, {one.regions}: S₁/S_T is {value:.2f}, and cannot be outside 0 to 1: "
                    f"{samples} samples are too few; ask for {4 * samples}"
                )


def _document(use: Use) -> Mapping[str, Any]:
    many = [
        {
            "regions": one.regions,
            "count": one.count,
            "forwards": one.forwards,
            "ratio": one.top.document(),
            "above": one.above.document(),
            "noise": one.noise.document(),
            "beyond": one.beyond.document(),
        }
        for one in use.ratios
    ]
    pairs = [
        {
            "regions": one.regions,
            "names": list(one.names),
            "forwards": one.forwards,
            "first": [figure.document() for figure in one.first],
            "total": [figure.document() for figure in one.total],
            "ratio": [figure.document() for figure in one.ratios],
            "together": one.together.document(),
            "gap": one.gap.document(),
        }
        for one in use.pairs
    ]
    return {"name": use.name, "ratios": many, "pairs": pairs}
