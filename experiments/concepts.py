"""What training does to concepts: over its epochs, with rare classes, weak labels, and another start.

    python experiments/concepts.py [--images 5000] [--epochs 4] [--seeds 2]

Networks of the digits, trained on composites of their own kind and dissected on the subject's 400 inputs,
after the questions of [khakzar2021c]: do detectors grow over training, does weighting the loss by class bring
those of rare classes, do labels that tell less than the concepts bring them all the same, and does a network
that was trained for something else begin ahead?
"""

import argparse
import copy
import os
from dataclasses import dataclass

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Dissection, concept_evolution, load_subject
from xattr_fixtures import _digits_data as data
from xattr_fixtures._digits_sources import CLASSES, SCENES, glyphs
from xattr_fixtures._network import SmallResidualNetwork
from xattr_fixtures._training import accuracy

RARE = (7, 8, 9)
BATCH, RATE, DECAY = 64, 3e-3, 2e-2


@dataclass(frozen=True)
class Variant:
    """How one network is trained.

    share: of all images, those of each rare class; none for as many as of the others. weighting: how much
        more the loss counts images of rare classes: 1 for each class alike, ½ for by the root of that.
        labels: what each digit is labelled with. few: images over those of the others. start: a sibling
        whose weights it begins with.
    """

    share: float | None = None
    weighting: float = 0.0
    labels: tuple[int, ...] = tuple(range(CLASSES))
    few: float = 1.0
    start: str | None = None


WEAK = tuple(int(digit in RARE) for digit in range(CLASSES))
VARIANTS = {
    "ten classes": Variant(),
    "three of them rare": Variant(share=0.02),
    "rare, weighted": Variant(share=0.02, weighting=1.0),
    "rare, weighted by the root": Variant(share=0.02, weighting=0.5),
    "weak labels": Variant(share=0.03, labels=WEAK),
    "weak labels, weighted": Variant(share=0.03, labels=WEAK, weighting=1.0),
    "few images": Variant(few=0.1),
    "few images, from scenes": Variant(few=0.1, start="scene"),
}


def drawn(variant: Variant, count: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Normalised composites of the training split and their digits."""
    bank = glyphs(False)
    shares = np.full(CLASSES, 1 / CLASSES)
    if variant.share is not None:
        shares[:] = (1 - variant.share * len(RARE)) / (CLASSES - len(RARE))
        shares[list(RARE)] = variant.share
    of_each = np.bincount(bank.label, minlength=CLASSES)
    rows = generator.choice(len(bank.label), count, p=(shares / of_each)[bank.label])
    scenes = (generator.random(count) * len(SCENES)).astype(np.int64)
    made = data.compose(rows, scenes, generator, held_out=False, jitter=0.3)
    return data.normalize(made.images), torch.from_numpy(made.digits)


def trained(
    variant: Variant, count: int, epochs: int, seed: int
) -> tuple[nn.Module, dict[str, dict[str, Tensor]]]:
    """A network in eval mode, and its weights before training and after each epoch."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    labels = torch.tensor(variant.labels)
    model = SmallResidualNetwork(len(set(variant.labels))).to(memory_format=torch.channels_last)
    if variant.start is not None:
        model.load_state_dict(load_subject("digits").siblings[variant.start].state_dict())
    states = {"0": copy.deepcopy(model.state_dict())}
    images = int(variant.few * count)
    pool = drawn(variant, images, generator)
    weight = None
    if variant.weighting:
        weight = (1 / torch.bincount(labels[pool[1]]).clamp_min(1)) ** variant.weighting
        weight = weight / weight.mean()
    # As many steps for few images as for many.
    rounds = round(1 / variant.few)
    steps = epochs * rounds * -(-images // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.2)
    for epoch in range(epochs):
        model.train()
        for _ in range(rounds):
            for some in torch.from_numpy(generator.permutation(images)).split(BATCH):
                optimizer.zero_grad()
                inputs = pool[0][some].contiguous(memory_format=torch.channels_last)
                functional.cross_entropy(model(inputs), labels[pool[1][some]], weight).backward()
                optimizer.step()
                schedule.step()
        states[str(epoch + 1)] = copy.deepcopy(model.state_dict())
    return model.eval(), states


def rare(found: Dissection) -> int:
    """How many units detect a rare digit."""
    return sum(found.counts.get(f"digit/{digit}", 0) for digit in RARE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    subject = load_subject("digits")
    print(
        f"{given.images} images, {given.epochs} epochs; {subject.name}, digits {RARE} are rare where any are"
    )
    print("| training | seed | accuracy | detectors | concepts | of rare digits | detectors by epoch |")
    print("|---|---|---|---|---|---|---|")
    for name, variant in VARIANTS.items():
        for seed in range(1, given.seeds + 1):
            model, states = trained(variant, given.images, given.epochs, seed)
            found = list(concept_evolution(model, states, subject.inputs, subject.concepts).values())
            right = accuracy(model, subject.inputs, torch.tensor(variant.labels)[subject.targets])
            last, epochs = found[-1], ", ".join(str(len(one.detectors)) for one in found)
            row = (name, seed, f"{right:.3f}", len(last.detectors), len(last.counts), rare(last), epochs)
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
