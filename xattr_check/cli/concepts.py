"""The command `xattr-check concepts`: which concepts units of a subject's networks detect."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.battery.battery import run_of
from xattr_check.battery.subjects import only_subject
from xattr_check.cli.parser import Parser
from xattr_check.concepts.dissection import QUANTILE, THRESHOLD, Dissection, network_dissection
from xattr_check.concepts.evolution import concept_evolution
from xattr_check.config.xattr_yaml import of_folder
from xattr_check.core.context import first_rows
from xattr_check.core.subject import Subject
from xattr_check.errors import ConceptError, Invalid, Undefined, UsageError
from xattr_check.imports import imported
from xattr_check.networks.randomize import every_layer, randomized
from xattr_check.report import concepts as report
from xattr_check.storage.files import check_writable, write_bytes
from xattr_check.wording import wrap

MODEL, UNTRAINED = "model", "untrained"


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Say which concepts the units of a layer detect: of the subject's model, of its siblings, and of the "
        "model with random weights. The subject gives the concepts, as Subject(…, concepts={NAME: mask}). "
        "Where the working directory has an xattr.yaml, its seed and device count; the command line wins."
    )
    parser.add_argument("subject", metavar="SUBJECT", help="a name or MODULE:FACTORY")
    parser.add_argument(
        "--layer", metavar="NAME", help="a module (default: the last that returns more than one cell)"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="weights of the model to look at as well, safetensors or a state_dict of torch; repeatable, in "
        "the order of training",
    )
    parser.add_argument(
        "--quantile",
        type=float,
        default=QUANTILE,
        metavar="SHARE",
        help=f"of all places, on which a unit is on (default: {QUANTILE})",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        metavar="IOU",
        help=f"from which on a unit is a detector (default: {THRESHOLD})",
    )
    parser.add_argument("--json", action="store_true", help="as JSON, unit by unit")
    parser.add_argument("--html", metavar="FILE", type=Path, help="a report with pictures, as one HTML file")
    parser.add_argument("--seed", type=int, metavar="N", help="of the random weights (default: 0)")
    parser.add_argument("--device", metavar="auto|cpu|cuda[:N]|…", help="default: auto")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Dissect the networks and say what was found; the exit code. Raises UsageError."""
    if arguments.html is not None:
        check_writable(arguments.html, "--html")
    # A model that a file names would stand in place of any subject.
    settings = replace(of_folder(Path()), model=None, data=None).override(
        subjects=[arguments.subject], seed=arguments.seed, device=arguments.device
    )
    shared = run_of(settings)
    subject = only_subject(settings).on(shared.device)
    if not subject.concepts:
        raise UsageError(
            option="subject",
            value=subject.name,
            expected="concepts",
            came="none",
            hint="give it Subject(…, concepts={NAME: mask}), a mask (N, H, W) bool for each",
        )
    found, notes = dissect(subject, arguments, settings.seed)
    if arguments.json:
        print(json.dumps(document(subject, found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(lines(subject, found, notes)))
    if arguments.html is not None:
        write_bytes(arguments.html, report.render(subject, found, notes).encode())
        if not arguments.json:
            print(f"report: {arguments.html.resolve().as_uri()}")
    return 0


def dissect(
    subject: Subject, arguments: argparse.Namespace, seed: int
) -> tuple[dict[str, Dissection], dict[str, str]]:
    """The dissections of all networks by name, the model first, and why there is none of others."""
    options = {name: getattr(arguments, name) for name in ("layer", "quantile", "threshold")}
    options["layout"] = subject.layout
    networks: dict[str, nn.Module] = {MODEL: subject.model, **subject.siblings}
    notes: dict[str, str] = {}
    with first_rows(len(subject.inputs)):
        try:
            model, inputs = subject.model, subject.inputs
            networks[UNTRAINED] = randomized(model, every_layer(model, inputs), inputs, seed)
        except (Invalid, Undefined) as error:
            notes[UNTRAINED] = str(error)
        found = {}
        for name, network in networks.items():
            try:
                found[name] = network_dissection(network, subject.inputs, subject.concepts, **options)
            except ConceptError as error:
                if name == MODEL:
                    raise
                notes[name] = str(error)  # a sibling may be of another architecture
        checkpoints = {str(path): weights_of(path) for path in arguments.checkpoint}
        found |= concept_evolution(subject.model, checkpoints, subject.inputs, subject.concepts, **options)
    return found, notes


def weights_of(path: Path) -> Mapping[str, Tensor]:
    """The weights in a file. Raises UsageError."""
    try:
        if path.suffix == ".safetensors":
            found = imported("safetensors.torch", "load_file")(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file raises
        told = " ".join(str(error).split())
        hint = "save model.state_dict()"
        raise UsageError(
            option="--checkpoint", value=str(path), expected="weights", came=told, hint=hint
        ) from None
    if not isinstance(found, Mapping):
        raise UsageError(
            option="--checkpoint", value=str(path), expected="a state_dict", came=type(found).__name__
        )
    return found


def lines(subject: Subject, found: Mapping[str, Dissection], notes: Mapping[str, str]) -> list[str]:
    """What is printed: a row for each network, and the concepts of the model."""
    model = found[MODEL]
    told = wrap(
        f"{subject.name}: {len(model.names)} units of {model.layer}, {len(model.concepts)} concepts on "
        f"{len(subject.inputs)} inputs; a detector has an IoU of {model.threshold:g} or more",
        indent=0,
    )
    width = max(map(len, (*found, "network")))
    kinds = [*model.kinds]
    head = ("detectors", "concepts", *kinds, "best IoU")
    told += ["", f"{'network':<{width}}  {'  '.join(head)}"]
    for name, one in found.items():
        figures = (len(one.detectors), len(one.counts), *one.kinds.values())
        row = "  ".join(f"{figure:>{len(column)}}" for figure, column in zip(figures, head, strict=False))
        other = f"  of {one.layer}" if one.layer != model.layer else ""
        told.append(f"{name:<{width}}  {row}  {report.best_unit(one):>{len(head[-1])}.2f}{other}")
    told += [f"{name}: {note}" for name, note in notes.items()]
    if model.counts:
        told += ["", "detectors of the model, and the best of each concept"]
    width = max(map(len, model.concepts))
    for unit in report.distinct(model):
        name = model.names[unit]
        told.append(
            f"{name:<{width}}  {model.counts[name]:>4}  unit {unit}, IoU {float(model.ious[unit].max()):.2f}"
        )
    if hidden := report.beyond_reach(model):
        told += ["", *wrap(f"too large for any unit to detect: {', '.join(hidden)}", indent=0)]
    return told


def document(subject: Subject, found: Mapping[str, Dissection]) -> dict[str, Any]:
    """The same for machines, unit by unit."""
    model = found[MODEL]
    return {
        "subject": subject.name,
        "inputs": len(subject.inputs),
        "quantile": model.quantile,
        "threshold": model.threshold,
        "concepts": [
            {"name": name, "inputs": int(shown), "ceiling": float(ceiling)}
            for name, shown, ceiling in zip(model.concepts, model.shown, model.ceilings, strict=True)
        ],
        "networks": [
            {
                "name": name,
                "layer": one.layer,
                "detectors": len(one.detectors),
                "counts": one.counts,
                "units": [
                    {
                        "unit": unit,
                        "concept": concept or None,
                        "nearest": one.concepts[int(one.ious[unit].argmax())],
                        "iou": float(one.ious[unit].max()),
                        "on": float(one.on[unit]),
                    }
                    for unit, concept in enumerate(one.names)
                ],
            }
            for name, one in found.items()
        ],
    }
