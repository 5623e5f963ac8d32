"""Two subjects whose weights and images are yours: a CIFAR-10 ResNet-20 and an ImageNet MobileNetV2.

    pytest --xattr-method=xattr:gradient --xattr-subject='benchmarks/subjects.py:resnet20?data=FOLDER'
    python benchmarks/subjects.py FOLDER

FOLDER, or the environment variable XATTR_DATA, holds
- `cifar10/resnet20.safetensors` and `cifar10/cifar10_test_first.npz` (`x` uint8 (N, 3, 32, 32), `y`), and
  `cifar10/cifar10_train_partial.npz`, alike, for checks that retrain,
- `imagenet/mobilenet_v2.safetensors`, for torchvision's `mobilenet_v2`, and photographs (.png, .jpg).
The second command prints how well the models do, which shows whether weights and normalisation fit together.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Recipe, Subject, UsageError

VARIABLE = "XATTR_DATA"
MEAN = torch.tensor([0.485, 0.456, 0.406])
DEVIATION = torch.tensor([0.229, 0.224, 0.225])
# What black and white are in the input space of both models, (3,).
LOW, HIGH = -MEAN / DEVIATION, (1 - MEAN) / DEVIATION
CIFAR_SIDE, CIFAR_CELL = 32, 4
GROUPS = 4  # of channels that GroupNorm normalises, where networks are retrained
IMAGENET_SIDE, IMAGENET_CELL = 224, 16
CROP_AREA = (0.4, 1.0)  # of the photograph


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut without weights, option A of [he2016]."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.stride, self.added = stride, (width - width_in) // 2  # channels of zeros on either side

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.added, self.added))
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(features)))))
        output: Tensor = self.relu2(branch + shortcut)
        return output


class ResNet20(nn.Module):
    """The CIFAR-10 network of 20 layers of [he2016], Sec. 4.2: (N, 3, 32, 32) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(width_in: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            BasicBlock(width_in, width, stride), BasicBlock(width, width, 1), BasicBlock(width, width, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(self.pool(features).flatten(1))
        return logits


class Grouped(nn.Module):
    """Two convolutions with GroupNorm beside a shortcut by a convolution."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False),
            nn.GroupNorm(GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, width),
        )
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.relu(self.shortcut(features) + self.branch(features))
        return output


def retrained() -> nn.Module:
    """(N, 3, 32, 32) to logits (N, 10): what learns most in a minute from a tenth of the training images.

    0.59 of the test images after 20 epochs, as much as residual networks of twice the resolution.
    """
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, padding=1, bias=False),
        nn.GroupNorm(GROUPS, 32),
        nn.ReLU(),
        Grouped(32, 64, 2),
        Grouped(64, 64, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def resnet20(data: str | None = None, n: int = 256) -> Subject:
    """CIFAR-10: the first n test images with their labels. Raises UsageError.

    It has a recipe where there are training images.
    """
    images, labels = _cifar(data)
    pool = _file(data, "cifar10/cifar10_test_first.npz").with_name("cifar10_train_partial.npz")
    return Subject(
        name="resnet20",
        model=_with_weights(ResNet20(), _file(data, "cifar10/resnet20.safetensors")),
        inputs=normalize(images[:n]),
        targets=labels[:n],
        reference=_noise(CIFAR_SIDE),
        regions=_grid(CIFAR_SIDE, CIFAR_CELL),
        recipe=_recipe(pool) if pool.exists() else None,
    )


def mobilenet_v2(data: str | None = None, crops: int = 5, seed: int = 0) -> Subject:
    """ImageNet: random crops of each photograph, targets the model's own predictions. Raises UsageError."""
    from torchvision.transforms import RandomResizedCrop
    from torchvision.transforms.functional import pil_to_tensor

    crop = RandomResizedCrop(IMAGENET_SIDE, CROP_AREA)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = [pil_to_tensor(crop(image)) for image in _photographs(data).values() for _ in range(crops)]
    model, inputs = _mobilenet(data), normalize(torch.stack(images))
    return Subject(
        name="mobilenet_v2",
        model=model,
        inputs=inputs,
        targets=_predictions(model, inputs),
        reference=_noise(IMAGENET_SIDE),
        regions=_grid(IMAGENET_SIDE, IMAGENET_CELL),
    )


def normalize(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 to float32 as both models expect it."""
    return (images / 255 - MEAN[:, None, None]) / DEVIATION[:, None, None]


def _noise(side: int) -> Callable[[int, torch.Generator], Tensor]:
    """Absence as in [khakzar2022]: clipped normal noise around grey, deviation 0.1, normalised."""

    def noise(count: int, generator: torch.Generator) -> Tensor:
        values = torch.randn(count, 3, side, side, generator=generator, device=generator.device)
        mean, deviation = (value.to(values.device)[:, None, None] for value in (MEAN, DEVIATION))
        return ((0.5 + 0.1 * values).clamp(0, 1) - mean) / deviation

    return noise


def _grid(side: int, cell: int) -> Tensor:
    """(side, side) int64: squares of cell × cell pixels, numbered row by row."""
    index = torch.arange(side) // cell
    return index[:, None] * (side // cell) + index


def _file(data: str | None, name: str) -> Path:
    folder = data or os.environ.get(VARIABLE)
    if not folder:
        raise UsageError(f"expected the folder of weights and images; pass ?data=FOLDER or set {VARIABLE}")
    path = Path(folder) / name
    if not path.exists():
        raise UsageError(
            f"expected {name} in {folder}, which ?data=FOLDER or {VARIABLE} names; it is not there"
        )
    return path


def _with_weights(model: nn.Module, path: Path) -> nn.Module:
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
    return model.eval()


def _cifar(data: str | None) -> tuple[Tensor, Tensor]:
    """The test images, (N, 3, 32, 32) uint8, and their labels, (N,) int64."""
    return _images(_file(data, "cifar10/cifar10_test_first.npz"))


def _images(path: Path) -> tuple[Tensor, Tensor]:
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()


def _recipe(path: Path) -> Recipe:
    def pool() -> dict[str, Tensor]:
        images, labels = _images(path)
        return {"inputs": normalize(images), "targets": labels}

    return Recipe(retrained, pool, epochs=20, batch=32, decay=0.05, shift=2)


def _mobilenet(data: str | None) -> nn.Module:
    from torchvision.models import mobilenet_v2

    return _with_weights(mobilenet_v2(num_classes=1000), _file(data, "imagenet/mobilenet_v2.safetensors"))


def _photographs(data: str | None) -> dict[str, Image.Image]:
    """By the name of the file, in its order."""
    folder = _file(data, "imagenet")
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    if not paths:
        raise UsageError(f"expected photographs, .png or .jpg, in {folder}; there are none")
    return {path.stem: Image.open(path).convert("RGB") for path in paths}


def _predictions(model: nn.Module, inputs: Tensor) -> Tensor:
    """The class of the largest logit, (N,) int64."""
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in inputs.split(32)])


def main() -> None:
    from torchvision.models import MobileNet_V2_Weights
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", help=f"the folder, {VARIABLE} where it is left out")
    data = parser.parse_args().data
    images, labels = _cifar(data)
    predictions = _predictions(resnet20(data, n=1).model, normalize(images))
    right = int((predictions == labels).sum())
    print(f"resnet20: {right} of {len(labels)} right, {right / len(labels):.1%}")
    names = MobileNet_V2_Weights.IMAGENET1K_V2.meta["categories"]
    subject = mobilenet_v2(data)
    photographs = _photographs(data)
    for stem, own in zip(photographs, subject.targets.chunk(len(photographs)), strict=True):
        whole = pil_to_tensor(center_crop(resize(photographs[stem], [256]), [IMAGENET_SIDE]))
        found = _predictions(subject.model, normalize(whole[None]))
        crops = ", ".join(names[prediction] for prediction in own.tolist())
        print(f"mobilenet_v2: {stem} is {names[int(found)]}; its crops {crops}")


if __name__ == "__main__":
    main()
