"""Pictures of maps: what methods of information and of pathways see, beside gradcam and integrated gradients.

    python docs/make/maps.py --write FOLDER
    python docs/make/maps.py --write FOLDER --photograph FILE --network mobilenet_v2 --weights FILE

The site draws all but the last anew whenever it is built (docs/make/hooks.py): a digit, a photograph and a
map of severities, on networks that are shipped, and units of the digits' networks. With `--photograph`, one
sheet of that one on a network of torchvision with weights of one's own (safetensors), for the class that it
names; what a bottleneck has to know of a layer is from the photographs beside it, each plain and mirrored.
"""

import argparse
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import skimage.data
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from xattr_check import (
    Dissection,
    Subject,
    load_method,
    load_subject,
    network_dissection,
    semantic_attribution,
)
from xattr_check.report.concepts import distinct, one_of_each
from xattr_check.report.drawing import Pixels, floats, heat, lettered, line_height, scale, wrapped
from xattr_check.report.pictures import display
from xattr_check.report.units import attribution_sheet, units_sheet
from xattr_fixtures._digits_data import normalize
from xattr_methods.pathways import decoded, pathways

TILE, COLUMNS, GAP, SIZE, LINES = 168, 4, 12, 12, 4
YARDSTICKS = ("gradcam", "integrated_gradients")
# With parameters that show something of networks as small as these.
INFORMATION = ("iba?steps=30", "inverse_iba?beta=3", "multilayer_iba?steps=30", "input_iba")
SELECTIONS = ("neuron_mct", "neuron_intgrad", "dgr", "greedy_pruning")
PATHWAYS = tuple(f"pathway_gradient?selection={name}" for name in SELECTIONS)
VALUES = ("beta=0.3", "beta=0.3&inverse=true", "beta=3&loss=maximisation")
ALL = (*YARDSTICKS, *INFORMATION, *PATHWAYS)
# Of the authors, for large networks; the adversarial step would take ten minutes.
LARGE = (*YARDSTICKS, "iba", "inverse_iba", "multilayer_iba", *(f"{one}&opening=3" for one in PATHWAYS[:1]))
# Rows of the sheets of units.
UNITS, INPUTS = 5, 3
PHOTOGRAPHS = (
    "brick", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field", "immunohistochemistry", "moon",
    "retina", "rocket",
)  # fmt: skip
SIDE = 64
# Of the photographs that networks of torchvision were trained on.
MEAN, DEVIATION, CROP, SHORTER = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224, 256


def drawn(subject: Subject, row: int, methods: Iterable[str], *, encoded: bool = False) -> Image.Image:
    """An input of a subject and the maps of methods for its target, each with its name and its scale.

    Red is positive, blue negative; full colour stands for the number that is told, in the method's unit.

    encoded: with what the pathway of the largest contributions has encoded of it.
    """
    inputs, targets = subject.inputs[row : row + 1], subject.targets[row : row + 1]
    tiles = [captioned(display(floats(inputs[0])), "input")]
    for name in methods:
        method = load_method(f"xattr:{name}").bind(subject)
        maps = method(subject.model, inputs, targets).detach()[0].sum(0)
        end, _ = scale(floats(maps))
        known, _, parameters = name.partition("?")
        span = f"±{end:.2g} {method.unit}".strip()
        lines = [known, *wrapped(parameters.replace("&", " "), SIZE, TILE), span]
        tiles.append(captioned(heat(floats(maps), end), *filter(None, lines)))
    if encoded:
        found = decoded(subject.model, inputs, targets, pathways(subject.model, inputs, targets))
        tiles.append(captioned(display(floats(found[0])), "decoded", "of the pathway of", "neuron_mct"))
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    width, height = tiles[0].size
    size = (COLUMNS * (width + GAP) + GAP, len(rows) * (height + GAP) + GAP)
    picture = Image.new("RGB", size, "white")
    for down, line in enumerate(rows):
        for across, tile in enumerate(line):
            picture.paste(tile, (GAP + across * (width + GAP), GAP + down * (height + GAP)))
    return picture


def captioned(pixels: Pixels, *lines: str) -> Image.Image:
    """A tile of one size, whatever it shows, under four lines of text."""
    tile = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST)
    top = LINES * line_height(SIZE)
    whole = Image.new("RGB", (TILE + 2, top + TILE + 2), "white")
    whole.paste(lettered(lines, SIZE), (0, 0))
    whole.paste(ImageOps.expand(tile, 1, fill=(170, 170, 170)), (0, top))
    return whole


def shrunk(photograph: Tensor) -> Tensor:
    """(1, 3, SIDE, SIDE) uint8: the middle of a photograph (H, W) or (H, W, 3), shrunk to it."""
    colours = photograph if photograph.ndim == 3 else photograph[..., None].repeat(1, 1, 3)
    picture = colours[..., :3].movedim(2, 0)[None].float()
    shorter = min(picture.shape[2:])
    height, width = (round(side * SIDE / shorter) for side in picture.shape[2:])
    whole = functional.adaptive_avg_pool2d(picture, (height, width))
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    return whole[..., top : top + SIDE, left : left + SIDE].round().to(torch.uint8)


def photographs() -> Subject:
    """Whole photographs of scikit-image, on the network that tells on which of them a digit stands."""
    network = load_subject("digits").siblings["scene"]
    shown = [shrunk(torch.from_numpy(getattr(skimage.data, name)())) for name in PHOTOGRAPHS]
    return Subject("photographs", network, normalize(torch.cat(shown)), torch.arange(len(PHOTOGRAPHS)))


def units(network: str = "") -> Image.Image:
    """The best units of the digits' network, or of a sibling, each with images that it is on on."""
    subject, found = dissected(network)
    shown = distinct(found)[:UNITS]
    return units_sheet(subject, found, shown, f"Units of the {network or 'object'} network")


def contributions() -> Image.Image:
    """Which units the answers of the digits' network depend on."""
    subject, dissection = dissected()
    index = one_of_each(subject)[:INPUTS]
    found = semantic_attribution(subject.model, subject.inputs[index], subject.targets[index], dissection)
    return attribution_sheet(subject, found, index, "Units that the digit's logit depends on most")


def dissected(network: str = "") -> tuple[Subject, Dissection]:
    """The digits on one of their networks, and what units of its last layer detect."""
    subject = load_subject("digits")
    if network:
        subject = replace(subject, model=subject.siblings[network], siblings={}, generated={})
    return subject, network_dissection(subject.model, subject.inputs, subject.concepts)


SHEETS: dict[str, Callable[[], Image.Image]] = {
    "digit": lambda: drawn(load_subject("digits"), 30, ALL, encoded=True),
    "photograph": lambda: drawn(photographs(), PHOTOGRAPHS.index("rocket"), ALL, encoded=True),
    "value": lambda: drawn(
        load_subject("regression"),
        0,
        (*YARDSTICKS, *(f"regression_iba?steps=30&{one}" for one in VALUES)),
    ),
    "units": units,
    "tints": lambda: units("spurious"),
    "contributions": contributions,
}


@cache
def png(name: str) -> bytes:
    """A sheet as PNG, drawn once in a process."""
    file = io.BytesIO()
    SHEETS[name]().save(file, format="PNG", optimize=True)
    return file.getvalue()


def of_ones_own(photograph: Path, network: str, weights: Path) -> Subject:
    """A photograph, the first input, and those beside it, on a network of torchvision."""
    model = torchvision.models.get_model(network, weights=None)
    model.load_state_dict(load_file(weights))
    others = sorted({photograph.parent / one.name for one in photograph.parent.iterdir()} - {photograph})
    inputs = torch.cat([read(path) for path in (photograph, *others) if path.suffix in (".png", ".jpg")])
    inputs = torch.cat([inputs, inputs.flip(3)])
    with torch.no_grad():
        targets = model.eval()(inputs).argmax(1)
    return Subject(network, model, inputs, targets)


def read(path: Path) -> Tensor:
    """(1, 3, 224, 224): the middle of a photograph, normalised as ImageNet is."""
    picture = ImageOps.fit(Image.open(path).convert("RGB"), (SHORTER, SHORTER))
    edge = (SHORTER - CROP) // 2
    pixels = torchvision.transforms.functional.to_tensor(picture)[:, edge : edge + CROP, edge : edge + CROP]
    found: Tensor = torchvision.transforms.functional.normalize(pixels, MEAN, DEVIATION)[None]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--photograph", type=Path, metavar="FILE")
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--weights", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    arguments.write.mkdir(parents=True, exist_ok=True)
    if arguments.photograph:
        if not arguments.weights:
            parser.error("--photograph: expected --weights=FILE beside it")
        subject = of_ones_own(arguments.photograph, arguments.network, arguments.weights)
        drawn(subject, 0, LARGE).save(arguments.write / f"{arguments.network}.png")
        return
    for name in SHEETS:
        (arguments.write / f"{name}.png").write_bytes(png(name))


if __name__ == "__main__":
    main()
