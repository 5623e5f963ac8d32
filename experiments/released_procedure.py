"""The procedure that the authors of [khakzar2022] released, as a peer: one sample at a time, one draw a step.

    python experiments/released_procedure.py [--scenario null] [--samples 4] [--patch 14] [--frozen]

Re-created from the paper (Sec. 3, App. 6.3), and from what the released program does where the paper is
silent. Each patch is the output of its own deep-image-prior network; each step sees one reference and one
placement. Two things differ from the release. Classes are any two different ones, not one of each half. And
the prior network is scaled to the patch: widths, filters and the strided last convolution are as released,
the input is 3 · side − 2 pixels wide, which is what yields the patch, and scales are dropped at the deep end
until the bottleneck is at least 4 × 4 again. At 86 pixels this is the released network (2.9 million
parameters, 4.1 GMAC); at 12 to 14 three scales are left.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from xattr_check import Subject, UsageError, load_subject

WIDTHS = (16, 32, 64, 128, 128, 128)
SKIP_WIDTHS = (0, 4, 4, 4, 4, 4)
DOWN_FILTERS = (5, 3, 5, 5, 3, 5)
UP_FILTERS = (5, 3, 5, 3, 5, 3)
SEED_CHANNELS = 32
BOTTLENECK = 4  # pixels on a side, at least

LEARNING_RATE = 0.005
WARM_UP = 300
SATURATION_WARM_UP = 200
CONTRIBUTION = 10.0
WARM_UP_CONTRIBUTION = 5.0
CHANGE = 5.0
HELD_AT = 0.95  # softmax of the contributing patch, null scenario
FOCUS = 0.8  # γ of the focal weight
AVERAGE = 0.1  # α of Eq. 13
KEY_START = 0.5

STOP_SOFTMAX = 0.94
STOP_CHANGE = 0.14
STOP_AFTER = 50  # iterations
MARGIN = 5 / 224  # of the image, between a corner and a patch in the saturation scenario

Coalition = tuple[int, ...]  # patches in the order in which they are added
Certificate = Callable[[list[Tensor], tuple[int, int]], bool]


@dataclass(frozen=True)
class Aim:
    """What one patch is optimised for.

    patch: 0 for f_a, 1 for f_b. target: 0 for class a, 1 for class b, which the patch makes.
    unchanged: pairs (coalition, class): adding the patch to the coalition leaves that class's logit as it is.
    held: the target's softmax p is held at 0.95, in place of making the logit large: by 5 · (p − 0.95)², for
        which the objective `dynamic` of the engine has 10 times the cross-entropy that the paper prints.
    """

    patch: int
    target: int
    unchanged: tuple[tuple[Coalition, int], ...] = ()
    held: bool = False


SCENARIOS: Mapping[str, tuple[Aim, ...]] = {
    "null": (Aim(0, 0, held=True), Aim(1, 1, unchanged=(((0,), 0), ((), 0)))),
    "double": (Aim(0, 0, unchanged=(((1,), 1),)), Aim(1, 1, unchanged=(((0,), 0),))),
    "single": (Aim(0, 0, unchanged=(((), 1),)),),
    "saturation": (Aim(0, 0, unchanged=(((1,), 0),)), Aim(1, 0, unchanged=(((0,), 0),))),
}


class Sample(NamedTuple):
    """patches: each (C, side, side) in the model's input space; stopped: whether the stop rule (and the
    certificate) was met, otherwise the release throws the sample away."""

    patches: list[Tensor]
    classes: tuple[int, int]
    iterations: int
    seconds: float
    stopped: bool


class Scale(nn.Module):
    """One scale of the skip network and all below it: (1, width_in, h, w) to (1, WIDTHS[scale], h, w)."""

    def __init__(self, width_in: int, scale: int, scales: int) -> None:
        super().__init__()
        width, skip, down, up = (part[scale] for part in (WIDTHS, SKIP_WIDTHS, DOWN_FILTERS, UP_FILTERS))
        self.skip = nn.Sequential(*_convolution(width_in, skip, 1)) if skip else None
        self.down = nn.Sequential(
            *_convolution(width_in, width, down, nn.AvgPool2d(2)), *_convolution(width, width, down)
        )
        self.deeper = Scale(width, scale + 1, scales) if scale + 1 < scales else None
        joined = skip + (WIDTHS[scale + 1] if self.deeper is not None else width)
        self.up = nn.Sequential(
            nn.BatchNorm2d(joined), *_convolution(joined, width, up), *_convolution(width, width, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        deep: Tensor = self.down(features)
        if self.deeper is not None:
            deep = self.deeper(deep)
        deep = functional.interpolate(deep, size=features.shape[-2:], mode="bilinear")
        if self.skip is not None:
            deep = torch.cat([self.skip(features), deep], 1)
        up: Tensor = self.up(deep)
        return up


def _convolution(width_in: int, width: int, size: int, *pooling: nn.Module) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(width_in, width, size, padding=size // 2, padding_mode="reflect"),
        *pooling,
        nn.BatchNorm2d(width),
        nn.LeakyReLU(0.2, inplace=True),
    )


class PatchPrior(nn.Module):
    """A skip network whose output, (1, channels, side, side) in 0…1, is a patch; never put into eval mode."""

    noise: Tensor

    def __init__(self, side: int, channels: int = 3) -> None:
        super().__init__()
        size = 3 * side - 2  # the last convolution takes every third pixel
        fitting = [count for count in range(1, len(WIDTHS) + 1) if size >> count >= BOTTLENECK]
        if not fitting:
            raise UsageError(f"expected a patch of at least {(2 * BOTTLENECK + 4) // 3} pixels, came {side}")
        self.register_buffer("noise", 0.1 * torch.rand(1, SEED_CHANNELS, size, size))
        self.layers = nn.Sequential(
            Scale(SEED_CHANNELS, 0, max(fitting)),
            nn.Conv2d(WIDTHS[0], channels, 1),
            nn.Conv2d(channels, channels, 3, stride=3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self) -> Tensor:
        patch: Tensor = self.layers(self.noise)
        return patch


def cost_of_prior(side: int, channels: int = 3) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one forward pass."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        prior = PatchPrior(side, channels)
        prior()
    return sum(parameter.numel() for parameter in prior.parameters()), counter.get_total_flops() // 2


def focal_weight(key: float) -> float:
    """FL(p) = −(1−p)^γ log p: large while p is small, 0 at 1; a number, so no gradient goes through it."""
    p = torch.tensor(key)
    return float(-((1 - p) ** FOCUS) * p.log())


def relative_change(after: Tensor, before: Tensor) -> float:
    """tanh(|after − before| / min(|after|, |before|)), the second and third key of Eq. 12, in 0…1."""
    after, before = after.detach(), before.detach()
    return float(torch.tanh((after - before).abs() / torch.minimum(after.abs(), before.abs())))


class Keys:
    """The exponential averages of Eq. 13: of one aim's softmax, and of each of its changes."""

    def __init__(self, aim: Aim) -> None:
        self.softmax = KEY_START
        self.changes = [KEY_START] * len(aim.unchanged)

    def update(self, softmax: float, changes: Sequence[float]) -> None:
        self.softmax = AVERAGE * softmax + (1 - AVERAGE) * self.softmax
        self.changes = [
            AVERAGE * new + (1 - AVERAGE) * old for new, old in zip(changes, self.changes, strict=True)
        ]


Corner = tuple[int, int]


def place(count: int, side: int, size: int, draws: random.Random) -> list[Corner]:
    """Upper left corners of one or two patches that do not overlap: two are parted along one axis."""
    if count == 1:
        return [(draws.randint(0, size - side), draws.randint(0, size - side))]
    parting = draws.randint(side, size - side)
    near, far = draws.randint(0, parting - side), draws.randint(parting, size - side)
    corners = [(near, draws.randint(0, size - side)), (far, draws.randint(0, size - side))]
    if draws.random() < 0.5:
        corners = [(across, along) for along, across in corners]
    if draws.random() < 0.5:
        corners.reverse()
    return corners


def opposite_corners(side: int, size: int) -> list[Corner]:
    """Where the release leaves both patches of the saturation scenario, scaled to the image."""
    margin = round(MARGIN * size)
    return [(margin, margin), (size - side - margin, size - side - margin)]


def composite(
    reference: Tensor, patches: Sequence[Tensor], corners: Sequence[Corner], coalition: Coalition
) -> Tensor:
    """The reference (1, C, H, W) with a coalition's patches; the gradient reaches only the last one added."""
    image = reference.clone()
    for patch in coalition:
        (row, column), side = corners[patch], patches[patch].shape[-1]
        image = image.detach()  # in place is safe: it is a clone
        image[:, :, row : row + side, column : column + side] = patches[patch]
    return image


def coalitions_of(aims: Sequence[Aim]) -> set[Coalition]:
    """Those whose outputs the losses and the stop rule read."""
    found: set[Coalition] = {(aim.patch,) for aim in aims}
    for aim in aims:
        for before, _ in aim.unchanged:
            found |= {before, (*before, aim.patch)}
    return found


def measure(
    aim: Aim, logits: Mapping[Coalition, Tensor], classes: Sequence[int]
) -> tuple[float, list[float]]:
    """The keys of an aim on this draw, Eq. 12: the softmax of its target, and each relative change."""
    softmax = float(logits[aim.patch,].detach().softmax(1)[0, classes[aim.target]])
    return softmax, [
        relative_change(logits[(*before, aim.patch)][0, classes[kept]], logits[before][0, classes[kept]])
        for before, kept in aim.unchanged
    ]


def loss_of(
    aim: Aim, logits: Mapping[Coalition, Tensor], classes: Sequence[int], keys: Keys | None
) -> Tensor:
    """The loss of one patch, to which only that patch has a gradient; keys is None during the warm-up."""
    alone, target = logits[aim.patch,], classes[aim.target]
    if aim.held:
        return CHANGE * (alone.softmax(1)[0, target] - HELD_AT) ** 2
    if keys is None:
        return -WARM_UP_CONTRIBUTION * alone[0, target]
    loss = -CONTRIBUTION * focal_weight(keys.softmax) * alone[0, target]
    for (before, kept), key in zip(aim.unchanged, keys.changes, strict=True):
        change = logits[(*before, aim.patch)][0, classes[kept]] - logits[before][0, classes[kept]].detach()
        loss = loss + CHANGE * focal_weight(1 - key) * change**2
    return loss


@contextmanager
def _lent(model: nn.Module, frozen: bool) -> Iterator[None]:
    """The model with or without gradients of its weights; its flags and gradients are put back afterwards."""
    state = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    for parameter, _, _ in state:
        parameter.grad = None
        parameter.requires_grad_(not frozen)
    try:
        yield
    finally:
        for parameter, required, gradient in state:
            parameter.requires_grad_(required)
            parameter.grad = gradient


def released(
    subject: Subject,
    scenario: str,
    patch_side: int,
    seed: int,
    *,
    low: Tensor,
    high: Tensor,
    iterations: int = 1000,
    frozen: bool = False,
    certified: Certificate | None = None,
    fixed_corners: bool = True,
) -> Sample:
    """One sample by the released procedure.

    scenario: null, double, single or saturation. low, high: (C,), black and white in the model's input space.
    frozen: without the waste: weights take no gradient, and outputs that nothing reads are not computed; the
    optimisation is the same.
    certified: asked whenever the stop rule is met; where it says no, the optimisation goes on.
    fixed_corners: in the saturation scenario both patches stay in opposite corners, as released; False places
    them at random, as in the other scenarios.
    Raises UsageError where the subject has no reference or the patches do not fit.
    """
    if subject.reference is None:
        raise UsageError(f"subject {subject.name!r}: expected a reference, what absence looks like")
    reference_of = subject.reference
    aims, device = SCENARIOS[scenario], subject.inputs.device
    channels, size = subject.inputs.shape[1], min(subject.inputs.shape[2:])
    if len(aims) * patch_side > size:
        raise UsageError(f"expected {len(aims)} patches of {patch_side} pixels to fit {size} pixels")
    low, high = (bound.to(device).view(1, channels, 1, 1) for bound in (low, high))
    draws, noise = random.Random(seed), torch.Generator(device).manual_seed(seed)
    with torch.inference_mode():
        outputs = subject.model(subject.inputs[:1]).shape[1]
    first, second = draws.sample(range(outputs), 2)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        priors = nn.ModuleList(PatchPrior(patch_side, channels) for _ in aims).to(device)

    # Each call of the model sees one image, as released.
    coalitions = coalitions_of(aims)
    if not frozen:
        coalitions |= {(), (0,)} if len(aims) == 1 else {(), (0,), (1,), (0, 1), (1, 0)}
    warm_up = SATURATION_WARM_UP if scenario == "saturation" else WARM_UP
    keys = [Keys(aim) for aim in aims]
    optimizer = torch.optim.RMSprop(priors.parameters(), lr=LEARNING_RATE)
    patches: list[Tensor] = []
    stopped, iteration = False, 0
    started = time.perf_counter()
    with _lent(subject.model, frozen):
        for iteration in range(iterations):
            optimizer.zero_grad()
            patches = [low + (high - low) * prior() for prior in priors]
            reference = reference_of(1, noise)
            if scenario == "saturation" and fixed_corners:
                corners = opposite_corners(patch_side, size)
            else:
                corners = place(len(aims), patch_side, size, draws)
            logits = {
                coalition: subject.model(composite(reference, patches, corners, coalition))
                for coalition in sorted(coalitions)
            }
            found = [measure(aim, logits, (first, second)) for aim in aims]
            if iteration > warm_up:
                for key, new in zip(keys, found, strict=True):
                    key.update(*new)
            if iteration > STOP_AFTER and _stops(found):
                made = [patch.detach()[0] for patch in patches]
                with torch.no_grad():
                    stopped = certified is None or certified(made, (first, second))
                if stopped:
                    break
            for aim, key in zip(aims, keys, strict=True):
                loss_of(aim, logits, (first, second), key if iteration > warm_up else None).backward()
            optimizer.step()
    return Sample(
        [patch.detach()[0] for patch in patches],
        (first, second),
        iteration + 1,
        time.perf_counter() - started,
        stopped,
    )


def _stops(found: Sequence[tuple[float, list[float]]]) -> bool:
    """The released stop rule, on the one draw that was optimised."""
    return all(
        softmax > STOP_SOFTMAX and all(change < STOP_CHANGE for change in changes)
        for softmax, changes in found
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", choices=SCENARIOS, default="null")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--patch", type=int, default=14, help="pixels on a side")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frozen", action="store_true", help="without the wasted gradients and outputs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    subject = load_subject("digits")
    low, high = torch.full((3,), -2.0), torch.full((3,), 2.0)
    for side in (arguments.patch, 86):
        parameters, products = cost_of_prior(side)
        print(f"prior of a patch of {side} pixels: {parameters:,} parameters, {products / 1e9:.4f} GMAC")
    samples = []
    for seed in range(arguments.samples):
        sample = released(
            subject,
            arguments.scenario,
            arguments.patch,
            seed,
            low=low,
            high=high,
            iterations=arguments.iterations,
            frozen=arguments.frozen,
        )
        samples.append(sample)
        print(
            f"{arguments.scenario} {seed}: classes {sample.classes}, "
            f"{'stopped' if sample.stopped else 'thrown away'} after {sample.iterations} iterations, "
            f"{sample.seconds:.1f} s, {1000 * sample.seconds / sample.iterations:.1f} ms an iteration",
            flush=True,
        )
    seconds = sum(sample.seconds for sample in samples)
    kept = sum(sample.stopped for sample in samples)
    steps = sum(sample.iterations for sample in samples)
    print(
        f"{kept} of {len(samples)} kept, {1000 * seconds / steps:.1f} ms an iteration, "
        f"{seconds / kept if kept else float('inf'):.1f} s for each sample that was kept"
    )


if __name__ == "__main__":
    main()
