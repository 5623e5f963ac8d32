"""Sheets of generated samples, as pictures."""

from pathlib import Path

from xattr_check.generation.export import LETTERS
from xattr_check.generation.generator import Maker, compose_images
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import Scenario
from xattr_check.report import pictures

# Samples on one sheet of pictures.
ROWS = 8


def draw(maker: Maker, samples: Samples, folder: Path) -> list[Path]:
    """Write sheets of the samples to FOLDER/SCENARIO-01.png and so on, and say which. Raises OSError."""
    images = compose_images(maker, samples)
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
