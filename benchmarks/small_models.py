"""Six small image classifiers of different kinds, trained in seconds: none was used to build the project.

    pytest --xattr-method=xattr:gradient --xattr-subject=benchmarks/small_models.py:texture
    python benchmarks/small_models.py

Factories: `texture` (SiLU, global average pooling, one channel, 24×40), `gelu` (digits, GELU, max pooling),
`strided` (digits, strided convolutions without pooling, flattened at the end), `batchnorm` (40 classes),
`transformer` (a vision transformer of two blocks) and `two_classes` (two outputs). The second command prints
how well they do on inputs that no training saw, and in how many seconds they were trained.
"""

import time
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject

BATCH, STEPS = 64, 400
# Images of a subject.
INPUTS = 200
ENLARGED = 2  # pixels on a side that a pixel of a digit becomes

# (n, C, H, W) in about −1…1 and (n,) labels.
Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


def gratings(angles: int, colors: int, channels: int, size: tuple[int, int]) -> Draw:
    """Stripes of a class's angle and colour, of any phase and of a period of 3 to 6 pixels, under noise."""
    hues = torch.randn(colors, channels, generator=torch.Generator().manual_seed(5))
    hues = functional.normalize(hues, dim=1) * channels**0.5

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(angles * colors, (count,), generator=generator)
        phase, period, contrast = torch.rand(3, count, 1, 1, generator=generator).unbind()
        angle = (labels % angles * torch.pi / angles)[:, None, None]
        down, across = torch.meshgrid(*(torch.arange(length) for length in size), indexing="ij")
        along = angle.cos() * across + angle.sin() * down
        waves = (0.3 + 0.5 * contrast) * torch.sin(2 * torch.pi * (along / (3 + 3 * period) + phase))
        noise = 0.3 * torch.randn(count, channels, *size, generator=generator)
        return waves[:, None] * hues[labels // angles][:, :, None, None] + noise, labels

    return draw


def digits(channels: int, size: tuple[int, int], grouped: int = 10) -> Draw:
    """Handwritten digits of [alpaydin1998], enlarged, anywhere on a smooth random background.

    grouped: of so many labels; a digit's is the remainder.
    """
    found = load_digits()
    glyphs = torch.as_tensor(found.images / 16).float()
    glyphs = glyphs.repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)
    names = torch.as_tensor(found.target).long()
    side = glyphs.shape[1]

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(glyphs), (count,), generator=generator)
        smooth = torch.randn(count, channels, 5, 5, generator=generator)
        images = 0.4 * functional.interpolate(smooth, size, mode="bilinear", align_corners=False)
        images += 0.1 * torch.randn(images.shape, generator=generator)
        corners = torch.stack(
            [torch.randint(length - side + 1, (count,), generator=generator) for length in size], 1
        )
        light = 0.8 + 0.7 * torch.rand(count, channels, 1, 1, generator=generator)
        for image, glyph, (top, left), level in zip(
            images, glyphs[chosen], corners.tolist(), light, strict=True
        ):
            image[:, top : top + side, left : left + side] += level * glyph
        return images, names[chosen] % grouped

    return draw


class Transformer(nn.Module):
    """A vision transformer: cells of 4×4 pixels, a class token, blocks of attention; to (N, K)."""

    def __init__(self, channels: int, size: tuple[int, int], classes: int, width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, 4, 4)
        cells = (size[0] // 4) * (size[1] // 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, cells + 1, width))
        block = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        cells = self.embed(images).flatten(2).transpose(1, 2)
        cells = torch.cat([self.token.expand(len(cells), -1, -1), cells], 1) + self.places
        logits: Tensor = self.head(self.blocks(cells)[:, 0])
        return logits


def _pooled(width: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]


def texture() -> Subject:
    """Gratings of 8 angles, 24×40 in one channel; three convolutions, SiLU, global average pooling."""

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.SiLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(),
            *_pooled(32, 8),
        )  # fmt: skip

    return _trained("texture", network, gratings(8, 1, 1, (24, 40)))


def gelu() -> Subject:
    """Ten digits, 32×32 RGB; convolutions, GELU, max pooling, global average pooling."""

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1), nn.GELU(), nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1), nn.GELU(), nn.MaxPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1), nn.GELU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.GELU(),
            *_pooled(64, 10),
        )  # fmt: skip

    return _trained("gelu", network, digits(3, (32, 32)), steps=600)


def strided() -> Subject:
    """Ten digits, 28×28 in one channel; strided convolutions, ReLU, flattened at the end."""

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(48 * 16, 10),
        )  # fmt: skip

    return _trained("strided", network, digits(1, (28, 28)), steps=600)


def batchnorm() -> Subject:
    """Gratings of 8 angles in 5 colours, 40 classes, 32×32 RGB; convolutions, BatchNorm, ReLU."""

    def network() -> nn.Module:
        widths = (3, 16, 32, 48)
        blocks: list[nn.Module] = []
        for number in range(3):
            blocks += [
                nn.Conv2d(widths[number], widths[number + 1], 3, padding=1, bias=False),
                nn.BatchNorm2d(widths[number + 1]),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        return nn.Sequential(*blocks, *_pooled(48, 40))

    return _trained("batchnorm", network, gratings(8, 5, 3, (32, 32)))


def transformer() -> Subject:
    """Gratings of 5 angles in 2 colours, 32×32 RGB; a vision transformer of two blocks."""
    return _trained("transformer", lambda: Transformer(3, (32, 32), 10), gratings(5, 2, 3, (32, 32)))


def two_classes() -> Subject:
    """Even digits and odd ones, 32×32 RGB; convolutions, ReLU, average pooling, two outputs."""

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
            *_pooled(64, 2),
        )  # fmt: skip

    return _trained("two_classes", network, digits(3, (32, 32), 2), steps=800)


FACTORIES = (texture, gelu, strided, batchnorm, transformer, two_classes)


def _trained(name: str, network: Callable[[], nn.Module], draw: Draw, steps: int = STEPS) -> Subject:
    """The subject of a network that was trained on fresh draws, by Adam with a rate that rises and falls."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for _ in range(steps):
            images, labels = draw(BATCH, generator)
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
    inputs, targets = draw(INPUTS, torch.Generator().manual_seed(1))
    return Subject(name=name, model=model.eval(), inputs=inputs, targets=targets)


def main() -> None:
    for factory in FACTORIES:
        started = time.perf_counter()
        subject = factory()
        seconds = time.perf_counter() - started
        with torch.no_grad():
            right = (subject.model(subject.inputs).argmax(1) == subject.targets).float().mean()
        count = sum(parameter.numel() for parameter in subject.model.parameters())
        print(f"{subject.name:<12} {count:>7} parameters, {right:.1%} right, {seconds:.1f} s")


if __name__ == "__main__":
    main()
