"""What stands where pixels are missing, guessed by a network that learned it from other images."""

import weakref
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from xattr_check.core.run import Run
from xattr_check.core.subject import Subject
from xattr_check.core.timeout import uncounted
from xattr_check.errors import Undefined
from xattr_check.perturbation.impute import imputed
from xattr_check.storage.digest import derive_seed, digest

# Of Adam, on so many images each, of which a square of so many pixels on a side at the most is seen.
STEPS, BATCH, SIDE, RATE = 200, 16, 64, 3e-3
WIDTH = 24
# Images that a network learns from, at the least: half of the subject's.
LEAST = 16
# Pixels on a side of what is missing together, and the shares of an image that are.
GRAINS = (1, 2, 4, 8)
MISSING = (0.1, 0.9)

# What was learned where no run keeps it, by subject.
_by_hand: "weakref.WeakKeyDictionary[Subject, dict[str, list[dict[str, Tensor]]]]" = (
    weakref.WeakKeyDictionary()
)


class Inpainter(nn.Module):
    """What a guess of missing pixels lacks, from the guess and what is missing: an hourglass of one level.

    Maps (m, 2C, H, W) to (m, C, H, W), of any size. Its last layer is 0 at first: nothing is lacking.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.near = nn.Sequential(nn.Conv2d(2 * channels, WIDTH, 3, 1, 1), nn.ReLU())
        self.far = nn.Sequential(
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, 1, 2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(2 * WIDTH, WIDTH, 3, 1, 1),
            nn.ReLU(),
        )
        self.both = nn.Sequential(nn.Conv2d(2 * WIDTH, WIDTH, 3, 1, 1), nn.ReLU())
        self.last = nn.Conv2d(WIDTH, channels, 3, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))

    def forward(self, seen: Tensor) -> Tensor:
        """(m, C, H, W)."""
        near = self.near(seen)
        far = functional.interpolate(self.far(near), size=near.shape[2:], mode="nearest")
        return cast(Tensor, self.last(self.both(torch.cat([near, far], 1))))


def inpainted(network: nn.Module, weights: dict[str, Tensor], images: Tensor, keep: Tensor) -> Tensor:
    """Images (m, C, H, W) whose missing pixels are what the network makes of the linear imputation.

    images: in deviations from the mean. keep: (m, 1 or C, H, W) bool, False where a pixel is missing: what
        is there has no part in what is returned.
    """
    keep = keep.expand_as(images)
    guess = imputed(images, keep)
    seen = torch.cat([guess, (~keep).to(images)], 1).contiguous(memory_format=torch.channels_last)
    lacking = functional_call(network, weights, (seen,))
    return torch.where(keep, images, guess + lacking)


def learned(images: Tensor, seed: int) -> dict[str, Tensor]:
    """The weights of an `Inpainter` that learned to guess what is hidden of images (M, C, H, W).

    images: in deviations from the mean. Each step hides pixels, or squares of them, of some images: of all
    channels or, at every fourth, of each by itself. The error is the square of the distance.
    """
    generator = torch.Generator().manual_seed(seed)
    # The caller may be in the midst of forward passes without gradients.
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Inpainter(images.shape[1]).to(images).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.2)
        for step in range(STEPS):
            rows = torch.randint(len(images), (BATCH,), generator=generator).to(images.device)
            whole = _cropped(images[rows].clone(), generator)
            channels = whole.shape[1] if step % 4 == 3 else 1
            keep = _holes(channels, whole.shape[2:], generator).to(images.device).expand_as(whole)
            found = inpainted(network, dict(network.named_parameters()), whole, keep)
            loss = (found - whole).square().sum() / (~keep).sum().clamp_min(1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
        return {name: value.detach() for name, value in network.named_parameters()}


def inpaint(
    subject: Subject, inputs: Tensor, half: Tensor, keep: Tensor, rows: Tensor, seed: int, run: Run | None
) -> Tensor:
    """(m, C, H, W): rows of images, with missing pixels as they look in the subject's other images.

    inputs: (n, C, H, W). half: (n,) int64, as `half_of` tells. keep: (m, 1 or C, H, W) bool. rows: (m,)
    int64, of the inputs. Each half of the subject's inputs is filled by the network that learned from the
    other half, so that no network has seen what it is to guess.
    run: in whose store the networks are; None keeps them while the subject is there.
    """
    mean, spread = subject.mean.to(inputs), subject.layout.deviation(subject.inputs).to(inputs)
    # What never varies is what it is everywhere.
    spread = torch.where(spread > 0, spread, 1.0)
    weights = _halves(subject, seed, run)
    images = ((inputs[rows] - mean) / spread).to(subject.inputs.dtype)
    with torch.device("meta"):  # its weights are given at each call, and none are drawn
        network = Inpainter(images.shape[1])
    own_half = half.to(rows.device)[rows]
    found = torch.empty_like(images)
    for number, own in enumerate(weights):
        (chosen,) = (own_half == number).nonzero(as_tuple=True)
        if len(chosen):
            found[chosen] = inpainted(network, own, images[chosen], keep[chosen])
    return found.to(inputs.dtype) * spread + mean


def half_of(subject: Subject, indices: Tensor, seed: int) -> Tensor:
    """(n,) int64, 0 or 1: in which half of a subject's inputs those of the indices (n,) are."""
    generator = torch.Generator().manual_seed(derive_seed("halves", seed))
    halves = torch.randperm(len(subject.inputs), generator=generator) % 2
    return halves[indices.cpu()]


def expect_enough(subject: Subject) -> None:
    """Raise Undefined where a subject's inputs are no images, or too few to learn from."""
    if subject.layout.name != "image":
        raise Undefined("inpainting learns pixels from those around them, and these inputs are no images")
    if len(subject.inputs) < 2 * LEAST:
        raise Undefined(
            f"inpainting learns from half of the inputs what the other half looks like: expected "
            f"{2 * LEAST} inputs at least, came {len(subject.inputs)}"
        )


def _halves(subject: Subject, seed: int, run: Run | None) -> list[dict[str, Tensor]]:
    """The weights that fill the first half of a subject's inputs, and the second; learned once for a seed."""
    inputs = subject.inputs
    key = {
        "inputs": digest(inputs), "seed": seed, "device": inputs.device.type, "width": WIDTH,
        "training": [STEPS, BATCH, SIDE, RATE, *GRAINS, *MISSING],
    }  # fmt: skip

    def compute() -> dict[str, Tensor]:
        if run is not None:
            run.progress("training two networks to inpaint what is removed")
        spread = subject.layout.deviation(inputs)
        images = (inputs - subject.mean) / torch.where(spread > 0, spread, 1.0)
        half = half_of(subject, torch.arange(len(inputs)), seed).to(inputs.device)
        return {
            f"{number}/{name}": value
            for number in (0, 1)
            for name, value in learned(images[half != number], derive_seed("inpainter", seed, number)).items()
        }

    def fetch() -> list[dict[str, Tensor]]:
        found = compute() if run is None else run.store.fetch("inpainter", key, compute)
        return [
            {
                name.removeprefix(f"{number}/"): value.to(inputs.device)
                for name, value in found.items()
                if name.startswith(f"{number}/")
            }
            for number in (0, 1)
        ]

    if run is not None:
        # The first method that asks would be taken for one that hangs.
        with uncounted():
            return cast(list[dict[str, Tensor]], run.once(f"inpainter, {digest(key)}", fetch))
    kept = _by_hand.setdefault(subject, {})
    name = digest(key)
    if name not in kept:
        kept[name] = fetch()
    return kept[name]


def _cropped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (m, C, H, W) at a random place, no more than SIDE on a side."""
    for axis in (2, 3):
        side = min(SIDE, images.shape[axis])
        start = int(torch.randint(images.shape[axis] - side + 1, (), generator=generator))
        images = images.narrow(axis, start, side)
    return images


def _holes(channels: int, sides: torch.Size, generator: torch.Generator) -> Tensor:
    """(BATCH, channels, H, W) bool: False where squares of one size are missing, of each image its share."""
    grain = GRAINS[int(torch.randint(len(GRAINS), (), generator=generator))]
    low, high = MISSING
    shares = low + (high - low) * torch.rand(BATCH, 1, 1, 1, generator=generator)
    cells = [-(-side // grain) for side in sides]
    missing = torch.rand(BATCH, channels, *cells, generator=generator) < shares
    spread = missing.repeat_interleave(grain, 2).repeat_interleave(grain, 3)
    return ~spread[:, :, : sides[0], : sides[1]]
