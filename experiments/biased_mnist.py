"""Do networks that learned on digits of telling colours use colour, and not shape?

    python experiments/biased_mnist.py --data FOLDER [--images 10000] [--epochs 2] [--inputs 32]

FOLDER holds MNIST's four .gz files, as they are distributed. Each image has one of ten tints, of equal
luminance all over it, after the biased MNIST of [bahng2020]: that of its label for a share of the images,
else any. So luminance has the shape alone and chroma the tint alone. Of networks that differ by nothing but
this share: accuracy on test images whose tints say nothing, and how often the answer there is the class of
the tint; then, on test images with the tints of their labels, S_T of luminance and chroma, and Morris'
global μ* and σ of each, means over inputs, of the network's own answer.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from roar_mnist import DEVIATION, MEAN, read
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject, model_report
from xattr_check.core.recipe import Recipe
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.named_regions import regions_by_name
from xattr_check.perturbation.regions import LUMINANCE
from xattr_check.statistics.morris import elementary_effects, screening, trajectories
from xattr_check.statistics.paired import Figure

# Of the training images, how many have the tint of their label; the others have any of ten.
SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)
CLASSES = 10
# Of a range of 1: how strong tints are, and the luminance of paper and of ink.
CHROMA, PAPER, INK = 0.2, 0.3, 0.7
TRAJECTORIES = 64


def network() -> nn.Module:
    """(N, 3, 28, 28) to logits (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 49, 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    )


def tints() -> Tensor:
    """(10, 3): what red, green and blue are above the luminance, around the circle of hues."""
    angle = 2 * math.pi * torch.arange(CLASSES) / CLASSES
    red, blue = CHROMA * angle.cos(), CHROMA * angle.sin()
    green = -(LUMINANCE[0] * red + LUMINANCE[2] * blue) / LUMINANCE[1]
    return torch.stack([red, green, blue], 1)


def coloured(images: Tensor, tint: Tensor) -> Tensor:
    """(…, n, 3, 28, 28), normalised: images (n, 1, 28, 28) of MNIST in tints (…, n) by number."""
    luminance = PAPER + (INK - PAPER) * (images * DEVIATION + MEAN)
    return (luminance + tints()[tint][..., None, None] - 0.5) / 0.25


def drawn(labels: Tensor, share: float, seed: int) -> Tensor:
    """(n,) int64: tints by number, those of the labels for a share of them, else any."""
    generator = torch.Generator().manual_seed(seed)
    told = torch.rand(len(labels), generator=generator) < share
    return torch.where(told, labels, torch.randint(CLASSES, labels.shape, generator=generator))


def trained(images: Tensor, labels: Tensor, share: float, epochs: int) -> nn.Module:
    """A network for a share, from the same weights as for any other, and in the same order of images."""
    recipe = Recipe(network, dict, epochs=epochs, rate=2e-3)
    model, tint = recipe.untrained(0), drawn(labels, share, 1)
    generator = torch.Generator().manual_seed(0)
    steps = [
        rows
        for _ in range(epochs)
        for rows in torch.randperm(len(images), generator=generator).split(recipe.batch)
    ]
    descent = recipe.optimize(list(model.parameters()), len(steps))
    for rows in steps:
        descent.step(functional.cross_entropy(model(coloured(images[rows], tint[rows])), labels[rows]))
    return model.eval()


def global_effects(model: nn.Module, subject: Subject, samples: int) -> tuple[list[Figure], list[Figure]]:
    """μ* and σ of luminance and of chroma, over the subject's inputs, of the model's own answer."""
    regions = regions_by_name("colour", subject.inputs, subject.layout)
    design = 2 * trajectories(2, samples, torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = model(subject.inputs).argmax(1)
    outputs = regions.outputs(
        model, subject.inputs, answers, mean_fill(subject, subject.inputs), design,
        output="logit", memory=2**29, layout=subject.layout,
    )  # fmt: skip
    found = screening(elementary_effects(design, outputs))
    return [Figure.mean(one) for one in found.magnitude.T], [Figure.mean(one) for one in found.deviation.T]


def told(found: Figure) -> str:
    one = found.interval
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def table(data: Path, images: int, epochs: int, inputs: int, samples: int) -> Iterator[str]:
    """Markdown: a row for each share."""
    train, (test, labels) = read(data, "train"), read(data, "t10k")
    seen = train[0][:images], train[1][:images]
    models = {f"share {share:g}": trained(*seen, share, epochs) for share in SHARES}
    names = list(models)
    told_tints = coloured(test[:inputs], labels[:inputs])
    subject = Subject(
        "biased_mnist", models[names[0]], told_tints, labels[:inputs],
        siblings={name: models[name] for name in names[1:]},
    )  # fmt: skip
    report = model_report(subject, grids=[], inputs=inputs, samples=samples)
    any_tint = drawn(labels, 0.0, 2)
    shown = coloured(test, any_tint)
    yield "| share | accuracy | class of the tint | S_T luminance | S_T chroma | chroma less luminance |"
    yield "|---|---|---|---|---|---|"
    for share, model, use in zip(SHARES, models.values(), report.networks, strict=True):
        with torch.no_grad():
            answers = torch.cat([model(part).argmax(1) for part in shown.split(1000)])
        rates = [float((answers == wanted).double().mean()) for wanted in (labels, any_tint)]
        (pair,) = use.pairs
        cells = [*(f"{rate:.1%}" for rate in rates), *map(told, (*pair.total, pair.gap))]
        yield f"| {share:g} | {' | '.join(cells)} |"
    yield ""
    yield "| share | μ* luminance | μ* chroma | σ luminance | σ chroma |"
    yield "|---|---|---|---|---|"
    for share, model in zip(SHARES, models.values(), strict=True):
        magnitudes, deviations = global_effects(model, subject, TRAJECTORIES)
        yield f"| {share:g} | {' | '.join(map(told, (*magnitudes, *deviations)))} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's four .gz files")
    parser.add_argument("--images", type=int, default=10_000, help="of the training set")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--inputs", type=int, default=32)
    parser.add_argument("--samples", type=int, default=64)
    given = parser.parse_args()
    for line in table(given.data, given.images, given.epochs, given.inputs, given.samples):
        print(line, flush=True)


if __name__ == "__main__":
    main()
