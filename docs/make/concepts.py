"""Writes docs/concepts.md: which concepts units of the digits' networks detect, layer by layer.

    python docs/make/concepts.py [--write docs/concepts.md]

And how often the unit that an answer depends on most detects something that is on the input.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from pages import DOCS, Stamp, write
from torch import nn

from xattr_check import Dissection, Subject, load_subject, network_dissection, semantic_attribution
from xattr_check.networks.randomize import every_layer, randomized

LAYERS = ("stem.2", "stage1.relu2", "stage2.relu2", "stage3.relu2")
QUANTILES = (0.005, 0.02, 0.05)
STEPS = 20


def networks_of(subject: Subject) -> dict[str, nn.Module]:
    """The networks of one architecture of the digits by name, an untrained one last."""
    model = subject.model
    alike = {name: one for name, one in subject.siblings.items() if type(one) is type(model)}
    random = randomized(model, every_layer(model, subject.inputs), subject.inputs, 0)
    return {"object": model, **alike, "untrained": random}


def cell(found: Dissection) -> str:
    """Detectors of each kind, and of how many concepts."""
    told = ", ".join(f"{count} {kind}" for kind, count in found.kinds.items() if count)
    return f"{told} ({len(found.counts)})" if told else "0"


def by_layer(subject: Subject, networks: dict[str, nn.Module]) -> Iterator[str]:
    yield f"| network | {' | '.join(f'`{layer}`' for layer in LAYERS)} |"
    yield "|---" * (1 + len(LAYERS)) + "|"
    for name, network in networks.items():
        found = [
            network_dissection(network, subject.inputs, subject.concepts, layer=layer) for layer in LAYERS
        ]
        yield f"| {name} | {' | '.join(map(cell, found))} |"


def by_quantile(subject: Subject, networks: dict[str, nn.Module]) -> Iterator[str]:
    yield f"| network | {' | '.join(f'{100 * one:g} %' for one in QUANTILES)} |"
    yield "|---" * (1 + len(QUANTILES)) + "|"
    for name, network in networks.items():
        found = [
            network_dissection(network, subject.inputs, subject.concepts, quantile=one) for one in QUANTILES
        ]
        yield f"| {name} | {' | '.join(map(cell, found))} |"


def first_units(subject: Subject, networks: dict[str, nn.Module]) -> Iterator[str]:
    """What the unit detects that a network's answer depends on most, and whether that is on the input."""
    there = {name: mask.flatten(1).any(1).tolist() for name, mask in subject.concepts.items()}
    yield "| network | share | a digit | a scene | a tint | nothing | and it is there |"
    yield "|---" * 7 + "|"
    for name in ("object", "retrained", "spurious", "scene"):
        network = networks[name]
        # Of the scene network at a larger share, at which it has detectors at all.
        quantile = QUANTILES[int(name == "scene")]
        with torch.no_grad():
            answers = network(subject.inputs).argmax(1)
        dissection = network_dissection(network, subject.inputs, subject.concepts, quantile=quantile)
        found = semantic_attribution(network, subject.inputs, answers, dissection, steps=STEPS)
        first = [names[0] for names in found.names()]
        kinds = [one.partition("/")[0] for one in first]
        shares = [
            sum(kind == wanted for kind in kinds) / len(kinds) for wanted in ("digit", "scene", "tint", "")
        ]
        shares.append(sum(bool(one) and there[one][row] for row, one in enumerate(first)) / len(first))
        told = " | ".join(f"{100 * share:.0f} %" for share in shares)
        yield f"| {name} | {100 * quantile:g} % | {told} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, default=DOCS / "concepts.md")
    arguments = parser.parse_args()
    stamp, subject = Stamp.now("concepts"), load_subject("digits")
    networks = networks_of(subject)
    tables = {
        make.__name__: "\n".join(make(subject, networks)) for make in (by_layer, by_quantile, first_units)
    }
    write(arguments.write, "concepts", stamp, **tables)


if __name__ == "__main__":
    main()
