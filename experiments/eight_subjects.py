"""Eight subjects that differ in what gates assume: `--xattr-subject=experiments/eight_subjects.py:vit`.

    python experiments/eight_subjects.py    # how well each classifies what it was not trained on

`digits` is the project's own; `resnet` a residual network on images of 16×16; `cancer` and `wine` multilayer
perceptrons on tables of 30 and 13 columns, with two and three classes; `deep_cnn` six convolutions on images
of 8×8; `vit` a vision transformer; `two_classes` a network of two classes of images; `saturated` is `digits`
with logits six times as large.

Networks are trained within seconds when they are asked for, from seeds, on data that scikit-learn ships, and
have the siblings `shuffled_labels` and `retrained`. Nothing is kept.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject, load_subject

Pair = tuple[Tensor, Tensor]
# The seed of the split; networks have others.
SPLIT = 0
# What the logits of `saturated` are multiplied by.
FACTOR = 6


class Residual(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut: (N, channels, H, W) -> (N, width, H / stride, …)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        plain = stride == 1 and channels == width
        self.shortcut = nn.Identity() if plain else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(inputs)))))
        found: Tensor = self.relu2(hidden + self.shortcut(inputs))
        return found


class Residuals(nn.Module):
    """A ResNet-20 of small width: (N, 1, 16, 16) -> (N, 10)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        widths = [width] * 3 + [2 * width] * 3 + [4 * width] * 3
        before = [width, *widths[:-1]]
        strides = [1, 1, 1, 2, 1, 1, 2, 1, 1]
        self.stages = nn.Sequential(*map(Residual, before, widths, strides))
        self.classifier = nn.Linear(4 * width, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.stages(self.stem(inputs)).mean((2, 3)))
        return found


class Block(nn.Module):
    """Attention and a multilayer perceptron, each normalised before and beside a shortcut: (N, T, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        normal = self.norm1(tokens)
        tokens = tokens + self.attention(normal, normal, normal, need_weights=False)[0]
        found: Tensor = tokens + self.perceptron(self.norm2(tokens))
        return found


class Transformer(nn.Module):
    """A vision transformer on patches of 2×2 pixels: (N, 1, 8, 8) -> (N, 10)."""

    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, width, 2, 2)
        self.start = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        patches = self.embed(inputs).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.start.expand(len(inputs), -1, -1), patches], 1) + self.place
        found: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return found


def perceptron(columns: int, outputs: int) -> nn.Module:
    """Two hidden layers of 32."""
    return nn.Sequential(
        nn.Linear(columns, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, outputs)
    )


def convolutions(outputs: int = 10, depth: int = 6, width: int = 12) -> nn.Module:
    """Convolutions, two of them strided where they are many: (N, 1, 8, 8) -> (N, outputs)."""
    layers: list[nn.Module] = []
    for number in range(depth):
        stride = 2 if depth > 2 and number in (depth // 3, 2 * depth // 3) else 1
        layers += [nn.Conv2d(width if number else 1, width, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, outputs))


def split(inputs: Tensor, labels: Tensor, share: float) -> tuple[Pair, Pair]:
    """The rows to train on, a share of all, and the others."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT))
    first, rest = order[: int(share * len(order))], order[int(share * len(order)) :]
    return (inputs[first], labels[first]), (inputs[rest], labels[rest])


def train(build: Callable[[], nn.Module], rows: Pair, *, epochs: int, seed: int, rate: float) -> nn.Module:
    """A network from a seed, trained on rows with AdamW and a rate that falls to zero."""
    inputs, labels = rows
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        batches = [order.split(64) for order in (torch.randperm(len(labels)) for _ in range(epochs))]
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-2)
    steps = sum(map(len, batches))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for chosen in (rows for epoch in batches for rows in epoch):
        optimiser.zero_grad()
        functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def subject(
    name: str,
    build: Callable[[], nn.Module],
    data: Pair,
    *,
    epochs: int,
    rate: float = 5e-3,
    share: float = 0.6,
) -> Subject:
    """A network, and what it was not trained on, explained for its labels; with both siblings."""
    (inputs, labels), (held_out, targets) = split(*data, share)
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT + 1))]

    def network(seed: int, wanted: Tensor = labels) -> nn.Module:
        return train(build, (inputs, wanted), epochs=epochs, seed=seed, rate=rate)

    siblings = {"shuffled_labels": network(2, shuffled), "retrained": network(1)}
    return Subject(name, network(0), held_out, targets, siblings=siblings)


def table(load: Callable[..., Pair]) -> Pair:
    """A data set of scikit-learn with columns of mean 0 and deviation 1."""
    inputs, labels = load(return_X_y=True)
    rows = torch.from_numpy(inputs)
    return ((rows - rows.mean(0)) / rows.std(0)).float(), torch.from_numpy(labels).long()


def small_digits() -> Pair:
    """1797 digits (N, 1, 8, 8) of mean 0 and deviation 1."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8)
    return (images - images.mean()) / images.std(), torch.from_numpy(labels).long()


def digits() -> Subject:
    return load_subject("digits")


def resnet() -> Subject:
    images, labels = small_digits()
    larger = functional.interpolate(images, size=16, mode="bilinear")
    return subject("resnet", Residuals, (larger, labels), epochs=4, share=0.8)


def cancer() -> Subject:
    return subject("cancer", lambda: perceptron(30, 2), table(load_breast_cancer), epochs=30)


def wine() -> Subject:
    return subject("wine", lambda: perceptron(13, 3), table(load_wine), epochs=60, share=0.4)


def deep_cnn() -> Subject:
    return subject("deep_cnn", convolutions, small_digits(), epochs=12)


def vit() -> Subject:
    return subject("vit", Transformer, small_digits(), epochs=14, rate=3e-3, share=0.8)


def two_classes() -> Subject:
    """Threes and eights."""
    images, labels = small_digits()
    chosen = (labels == 3) | (labels == 8)
    data = images[chosen], (labels[chosen] == 8).long()
    return subject("two_classes", lambda: convolutions(2, depth=2), data, epochs=20, share=0.4)


class Sharpened(nn.Module):
    """A model whose logits are so many times as large."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return self.factor * logits


def saturated() -> Subject:
    plain = digits()
    siblings = {name: Sharpened(model, FACTOR) for name, model in plain.siblings.items()}
    model = Sharpened(plain.model, FACTOR)
    return replace(plain, name="saturated", model=model, siblings=siblings, recipe=None, generated={})


SUBJECTS = (digits, resnet, cancer, wine, deep_cnn, vit, two_classes, saturated)


def main() -> None:
    for make in SUBJECTS:
        found = make()
        with torch.inference_mode():
            right = found.model(found.inputs).argmax(1) == found.targets
        print(f"{found.name}: {float(right.float().mean()):.3f} of {len(right)}")


if __name__ == "__main__":
    main()
