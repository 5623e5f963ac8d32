"""Remove and retrain on MNIST: do integrated gradients find more than chance does?

    python experiments/roar_mnist.py --data FOLDER [--epochs 10] [--seeds 5] [--images 60000]

FOLDER holds MNIST's four .gz files, as they are distributed. A network of two convolutions, two pooling
layers and three linear layers is trained by SGD, rate 1e-3, momentum 0.9, batches of 64. The pixels whose
integrated gradients are largest in magnitude are replaced by the mean, in training and in test images, and
networks are trained from scratch on what is left, one for each seed; so they are on images without as many
random pixels.
"""

import argparse
import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xattr_check.core.recipe import Recipe
from xattr_check.networks.retrain import Networks
from xattr_methods import integrated_gradients, random

PERCENTAGES = (50, 90, 10, 70, 30)  # the most telling first, where there is time for a part only
MEAN, DEVIATION = 0.1307, 0.3081  # of the training images
STEPS = 16  # of the path of integrated gradients, from the mean


def network() -> nn.Module:
    """As LeNet-5, with ReLUs and largest responses: (N, 1, 28, 28) to logits (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def read(folder: Path, name: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28), normalised, and labels (N,) int64 of `train` or `t10k`."""
    with gzip.open(folder / f"{name}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / f"{name}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    images = (torch.from_numpy(pixels.copy()).float() / 255 - MEAN) / DEVIATION
    return images, torch.from_numpy(labels.copy()).long()


def ranks(maps: Tensor) -> Tensor:
    """(N, 784) int16, 0 for the pixel with the largest value; ties fall in any order."""
    return maps.flatten(1).argsort(1, descending=True).argsort(1).to(torch.int16)


def by_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Ranks by the magnitude of integrated gradients."""
    parts = zip(images.split(1000), labels.split(1000), strict=True)
    return torch.cat([ranks(integrated_gradients(model, *part, steps=STEPS).abs()) for part in parts])


def by_chance(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Ranks by noise of each image's own."""
    parts = zip(images.split(1000), labels.split(1000), strict=True)
    return torch.cat([ranks(random(model, *part)) for part in parts])


class Experiment:
    """Data, the recipe, and how long it took."""

    def __init__(self, data: Path, images: int, epochs: int, seeds: int) -> None:
        (self.images, self.labels), self.test = read(data, "train"), read(data, "t10k")
        self.images, self.labels = self.images[:images], self.labels[:images]
        self.recipe = Recipe(
            network, dict, epochs=epochs, batch=64, optimizer="sgd", rate=1e-3, momentum=0.9, one_cycle=False
        )
        self.seeds = range(seeds)

    def trained(self, keep: tuple[Tensor, Tensor] | None = None) -> tuple[Networks, Tensor]:
        """Networks, one for each seed, and their accuracy, where keep (N, 784) bool says what is left."""

        def seen(images: Tensor, kept: Tensor | None, rows: Tensor) -> Tensor:
            chosen = images[rows]
            if kept is not None:
                chosen = torch.where(kept[rows].reshape(chosen.shape), chosen, 0.0)
            return chosen.expand(len(self.seeds), *chosen.shape)

        train, test = (None, None) if keep is None else keep
        networks = Networks(self.recipe, list(self.seeds), torch.device("cpu"))
        networks.train(lambda rows: seen(self.images, train, rows), self.labels, order=0)
        right = networks.correct(lambda rows: seen(self.test[0], test, rows), self.test[1])
        return networks, right.double().mean(1)

    def run(self) -> Iterator[str]:
        """A line for each result."""
        networks, accuracy = self.trained()
        yield f"nothing removed: {said(accuracy)}"
        model = network().eval()
        model.load_state_dict({name: rows[0].detach() for name, rows in networks.parameters.items()})
        sets = (self.images, self.labels), self.test
        rankings = {
            method.__name__: [method(model, *one) for one in sets] for method in (by_gradients, by_chance)
        }
        for percentage in PERCENTAGES:
            count = round(784 * percentage / 100)
            for name, (train, test) in rankings.items():
                accuracy = self.trained((train >= count, test >= count))[1]
                yield f"{percentage} % removed {name}: {said(accuracy)}"


def said(accuracy: Tensor) -> str:
    """Mean and standard deviation over seeds, and each of them, in per cent."""
    each = " ".join(f"{100 * float(one):.1f}" for one in accuracy)
    return f"{100 * float(accuracy.mean()):.1f} ± {100 * float(accuracy.std()):.1f} % ({each})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's four .gz files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=60_000, help="training images, the first so many")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started = time.process_time()
    experiment = Experiment(arguments.data, arguments.images, arguments.epochs, arguments.seeds)
    print(f"{len(experiment.images)} images, {arguments.epochs} epochs, {arguments.seeds} seeds", flush=True)
    for line in experiment.run():
        print(f"{line}, after {time.process_time() - started:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
