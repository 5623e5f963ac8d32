"""Time of a dissection over that of the forward passes alone, and the memory that it takes.

    python benchmarks/dissection.py [--networks digits,mobilenet_v2,resnet18] [--images 64] [--memory 256]

Networks of torchvision have random weights and are shown noise of 224 × 224 with squares for concepts.
Forward passes are those of all images once, in the same chunks and memory format; where activations take more
than `--memory` MiB they are computed twice, which is told. Memory is the peak of tensors made on the way.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import torch
import torchvision
from torch import Tensor, nn

from xattr_check import load_subject, network_dissection
from xattr_check.concepts.dissection import Activations
from xattr_check.concepts.units import Units
from xattr_check.networks.usage import peak_memory
from xattr_check.perturbation.outputs import CHUNK, probe

MEBIBYTE = 2**20
SIDE, SQUARE, CONCEPTS = 224, 64, 20
LAYERS = {"digits": ("stage1.relu2", "stage3.relu2")}
TURNS = 3

Case = tuple[nn.Module, Tensor, dict[str, Tensor]]


def case(name: str, count: int) -> Case:
    """A network in eval mode, images, and masks of concepts, each on a third of the images."""
    if name == "digits":
        subject = load_subject("digits")
        return subject.model, subject.inputs, dict(subject.concepts)
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    images = torch.randn(count, 3, SIDE, SIDE)
    masks = {}
    for concept in range(CONCEPTS):
        mask = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
        for image in range(concept % 3, count, 3):
            top, left = (int(one) for one in torch.randint(0, SIDE - SQUARE, (2,)))
            mask[image, top : top + SQUARE, left : left + SQUARE] = True
        masks[f"square {concept}"] = mask
    return model, images, masks


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, on one thread, the best of several turns: others at work do not count."""
    best = float("inf")
    for _ in range(TURNS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


@torch.no_grad()
def forwards(model: nn.Module, images: Tensor, memory: int) -> None:
    cost = probe(model, images)
    for some in images.split(min(CHUNK, max(1, memory // cost.bytes))):
        model(some.contiguous(memory_format=cost.layout))


def row(name: str, layer: str | None, found: Case, memory: int) -> str:
    model, images, masks = found
    units = Units.of(model, images, layer)
    twice = Activations(model, images, units, memory)._kept is None

    def dissect() -> object:
        return network_dissection(model, images, masks, layer=units.layer, memory=memory)

    alone, whole = seconds(lambda: forwards(model, images, memory)), seconds(dissect)
    with peak_memory(images.device) as peak:
        dissect()
    with peak_memory(images.device) as needed:
        forwards(model, images, memory)
    size = len(images) * units.count * units.places * images.element_size() / MEBIBYTE
    cells = (
        name, units.layer, f"{units.count} × {' × '.join(map(str, units.cells))}", str(len(images)),
        f"{alone:.2f}", f"{whole:.2f}", f"{whole / alone / (1 + twice):.2f}", "2" if twice else "1",
        f"{size:.0f}", f"{peak[0] / MEBIBYTE:.0f}", f"{needed[0] / MEBIBYTE:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="digits,mobilenet_v2,resnet18")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--memory", type=int, default=256)
    given = parser.parse_args()
    torch.set_num_threads(1)
    titles = (
        "network", "layer", "units", "images", "forwards, s", "dissection, s", "over its forwards", "passes",
        "activations, MiB", "peak, MiB", "peak of forwards",
    )  # fmt: skip
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    for name in given.networks.split(","):
        found = case(name, given.images)
        for layer in LAYERS.get(name, (None,)):
            print(row(name, layer, found, given.memory * MEBIBYTE), flush=True)


if __name__ == "__main__":
    main()
