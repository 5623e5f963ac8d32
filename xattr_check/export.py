"""Files of generated features: images with their certificate, for whoever has the model alone, and sheets."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from safetensors.torch import save

from xattr_check import pictures
from xattr_check.certify import DRAWS, MEDIAN, NINETIETH, REACH, SOFTMAX, Certificate
from xattr_check.generator import Generator, shown
from xattr_check.samples import Samples
from xattr_check.scenarios import Scenario
from xattr_check.store import Tensors

FORMAT = 1
LETTERS = "abcd"
# The key of a file's metadata under which its description lies, as JSON.
KEY = "xattr_check"
# Samples on one sheet of pictures.
ROWS = 8


def tensors(maker: Generator, samples: Samples) -> Tensors:
    """Samples as images and classes (see `generate.shown`), and their certificate as `certificate.NAME`."""
    certificate = {
        f"certificate.{one.name}": getattr(samples.certificate, one.name) for one in fields(Certificate)
    }
    found = {**shown(maker, samples), **certificate}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def description(maker: Generator) -> dict[str, object]:
    """How samples were made, what for, and what their certificate bounds.

    `changes` names the columns of `certificate.median` and `.ninetieth`: the output that a feature must not
    change when it joins the features of a coalition. `makes` gives the class that each feature makes.
    """
    plan = maker.plan
    kind = plan.scenario
    return {
        "format": FORMAT,
        "subject": maker.subject.name,
        "model": maker.run.model_digest(maker.subject.model),
        "scenario": kind.name,
        "makes": {LETTERS[feature]: LETTERS[number] for feature, number in enumerate(kind.makes)},
        "changes": [
            {
                "output": LETTERS[change.output],
                "feature": LETTERS[change.feature],
                "joins": [LETTERS[f] for f in range(kind.features) if change.smaller >> f & 1],
            }
            for change in kind.changes
        ],
        **{name: value for name, value in asdict(plan).items() if name not in ("scenario", "side")},
        "patch": plan.side,
        "draws": DRAWS,
        "bounds": {"median": MEDIAN, "ninetieth": NINETIETH, "softmax": SOFTMAX, "reach": REACH},
    }


def write(tensors: Tensors, path: Path, about: Mapping[str, object]) -> list[Path]:
    """Write a safetensors file, whole or not at all, described in its metadata; its path. Raises OSError."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        # Through bytes: safetensors' own files are readable by their owner alone.
        part.write_bytes(save(contiguous, metadata={KEY: json.dumps(about, ensure_ascii=False)}))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return [path]


def draw(maker: Generator, samples: Samples, folder: Path) -> list[Path]:
    """Write sheets of the samples to FOLDER/SCENARIO-01.png and so on, and say which. Raises OSError."""
    images = shown(maker, samples)
    kind, found = maker.plan.scenario, []
    for first in range(0, len(samples), ROWS):
        last = min(first + ROWS, len(samples))
        title = f"{kind.name} features of {maker.subject.name}, {first + 1} to {last} of {len(samples)}"
        path = folder / f"{kind.name}-{first // ROWS + 1:02}.png"
        pictures.write(pictures.examples(images, title, _says(kind), first=first, samples=ROWS), path)
        found.append(path)
    return found


def _says(kind: Scenario) -> str:
    """What the scenario forbids, in words."""
    if kind.saturating:
        return "Each patch alone has nearly the effect of all; what the others add changes nothing."
    clauses = [
        " or ".join(LETTERS[feature] for number, feature in kind.null if number == output)
        + f" never changes the logit of class {LETTERS[output]}"
        for output in sorted({output for output, _ in kind.null})
    ]
    return f"Patch {'; patch '.join(clauses)}."
