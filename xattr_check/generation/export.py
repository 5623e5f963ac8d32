"""Files of generated features: inputs with their certificate, for whoever has the model alone, and sheets."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from safetensors.torch import save

from xattr_check.generation.certify import DRAWS, MEDIAN, NINETIETH, REACH, SOFTMAX, Certificate
from xattr_check.generation.explain import LETTERS, letters
from xattr_check.generation.generator import Maker, compose_images
from xattr_check.generation.samples import Samples
from xattr_check.storage.files import write_bytes
from xattr_check.storage.store import Tensors

FORMAT = 1
# The key of a file's metadata under which its description lies, as JSON.
KEY = "xattr_check"


def tensors(maker: Maker, samples: Samples) -> Tensors:
    """Samples as inputs and classes (see `generate.shown`), and their certificate as `certificate.NAME`."""
    certificate = {
        f"certificate.{one.name}": getattr(samples.certificate, one.name) for one in fields(Certificate)
    }
    found = {**compose_images(maker, samples), **certificate}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def description(maker: Maker) -> dict[str, object]:
    """How samples were made, what for, and what their certificate bounds.

    `changes` names the columns of `certificate.median` and `.ninetieth`: the output that a feature changes
    by a share of the effect, 0 where it must not, when it joins the features of a coalition. `makes` gives
    the class that each feature makes, or that features make together.
    """
    plan = maker.plan
    kind = plan.scenario
    return {
        "format": FORMAT,
        "subject": maker.subject.name,
        "layout": maker.layout.name,
        "model": maker.run.model_digest(maker.subject.model),
        "scenario": kind.name,
        "makes": {"".join(letters(coalition)): LETTERS[number] for coalition, number in kind.made},
        "changes": [
            {
                "output": LETTERS[change.output],
                "feature": LETTERS[change.feature],
                "joins": letters(change.smaller),
                "share": change.share,
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
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, metadata={KEY: json.dumps(about, ensure_ascii=False)}))
    return [path]
