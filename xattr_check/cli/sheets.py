"""Sheets of generated samples, as pictures."""

from pathlib import Path

from xattr_check.generation.explain import LETTERS
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
    """What the scenario asks for, in words."""
    if kind.saturating:
        return "Each patch alone has nearly the effect of all; what the others add changes nothing."
    if kind.together:
        return "All patches together have the effect; fewer of them change nothing."
    clauses = []
    for output, share in sorted({(output, share) for output, _, share in kind.adds}):
        patches = [LETTERS[one] for number, one, by in kind.adds if (number, by) == (output, share)]
        does = f"adds {share:.1f} of the effect to" if share else "never changes"
        clauses.append(f"{' or '.join(patches)} {does} the logit of class {LETTERS[output]}")
    return f"Patch {'; patch '.join(clauses)}."
