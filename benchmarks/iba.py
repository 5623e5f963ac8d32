"""Time of information bottlenecks: over that of their passes, all inputs at once, and as released.

    python benchmarks/iba.py [--subject digits] [--batch 32] [--layer NAME] [--only NAME …]
    python benchmarks/iba.py --image mobilenet_v2 [--side 224]

Everything is timed in turns in one process, and the best of several turns counts. `over passes` is the time
over that of as many forward and backward passes of the whole model, in the chunks that are best for it;
`over the rest` over those of what lies behind the layer alone, from values that are there to what they change
by, which is what a bottleneck in a layer cannot do without. `one at a time` is how much longer the same takes
for one input after the other. `released` is how much longer the procedure of [schulz2020] takes, written from
the paper: one input at a time, its copies through the whole model, and a hook on the layer. Statistics of the
layer are there before, for all. `memory` is what the process grew by at its peak, in MiB (Linux).

The adversarial step of input_iba has a row of its own, which is what it adds, and is timed once.

With `--image`, what one image takes input_iba on a network of torchvision with random weights, on which time
does not depend, beside the 24 s of [zhang2021] on a GPU. Epochs of the adversarial step take the same time
each, so that two of them tell what all would take.
"""

import argparse
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

# Before torch: threads that wait for each other leave the processors to what else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torchvision
from methods import best_chunk, grown, passes, timed
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import load_subject
from xattr_check.core import registry
from xattr_check.core.layouts import layout_of
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods.activations._watch import layer_named
from xattr_methods.information._bottleneck import Noise, Rest
from xattr_methods.information._place import Place, find_place, find_resolutions
from xattr_methods.information._statistics import LEAST, Statistics, statistics_of
from xattr_methods.information.multilayer_iba import LAYERS

TURNS = 3
# The end of the last stage, where a module has a name for it.
NAMED = {"digits": "stage3", "resnet20": "layer3", "mobilenet_v2": "features.18"}
STEPS, COPIES, BETA, INPUT_STEPS = 10, 10, 10.0, 60


@dataclass(frozen=True)
class Row:
    """A method with its parameters, the layers that it has a bottleneck in, and passes of the inputs' own."""

    method: str
    places: list[Place]
    of_inputs: int = 0
    parameters: tuple[tuple[str, Any], ...] = ()
    inverse: bool | None = None


def released(
    model: nn.Module, layer: str, inputs: Tensor, targets: Tensor, known: Statistics, inverse: bool
) -> Tensor:
    """Maps (N, 1, h, w) of the cells of a layer, in bits, as published: full passes of the copies of each."""
    kept: list[Tensor] = []
    mixed: list[Tensor] = []

    def hook(_module: nn.Module, _given: Any, output: Tensor) -> Tensor | None:
        kept.append(output)
        return mixed[-1] if mixed else None

    steps = torch.arange(-2, 3).to(inputs)
    kernel = torch.exp(-0.5 * steps**2)
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    handle = layer_named(model, layer).register_forward_hook(hook)
    maps = []
    for one, target in zip(inputs.split(1), targets.split(1), strict=True):
        mixed.clear()
        with torch.no_grad():
            model(one)
        value = kept[-1]
        alpha = torch.full_like(value, 5.0).requires_grad_()
        adam = torch.optim.Adam([alpha], 1.0)
        weight = kernel.expand(value.shape[1], 1, -1, -1)
        for _ in range(STEPS):
            adam.zero_grad()
            padded = functional.pad(alpha.sigmoid().expand(COPIES, -1, -1, -1), (2, 2, 2, 2), mode="reflect")
            passed = functional.conv2d(padded, weight, groups=value.shape[1])
            noise = known.mean + known.deviation * torch.randn_like(passed)
            share = 1 - passed if inverse else passed
            mixed.append(share * value + (1 - share) * noise)
            surprise = functional.cross_entropy(model(one.expand(COPIES, -1, -1, -1)), target.expand(COPIES))
            scores = (value - known.mean) / known.deviation
            variance = (1 - passed) ** 2
            nats = -0.5 * (1 + variance.log() - (scores * passed) ** 2 - variance)
            (BETA * nats.mean() + (-surprise if inverse else surprise)).backward()
            adam.step()
        maps.append(nats.detach()[:1].sum(1, keepdim=True) / math.log(2))
    handle.remove()
    for parameter in model.parameters():
        parameter.grad = None
    return torch.cat(maps)


def behind(subject: Subject, inputs: Tensor, place: Place) -> Callable[[], None]:
    """The passes of a bottleneck in a layer: one forward to it, and the copies behind it, there and back."""
    known = statistics_of("iba", place, subject.model, None, subject, MEMORY)
    drawn = Noise(inputs, 0).draw(1, place.shape, inputs)[:, 0]
    rows = torch.arange(len(inputs)).repeat(COPIES)

    def run() -> None:
        rest = Rest(place, subject.model, inputs, known.mean + known.deviation * drawn)
        values = rest.values.repeat(COPIES, *[1] * len(place.shape)).requires_grad_()
        for _ in range(STEPS):
            torch.autograd.grad(rest(values, rows)[:, 0].sum(), values)

    return run


def measured(row: Row, subject: Subject, inputs: Tensor, targets: Tensor, layer: str | None) -> str:
    """A row of the table."""
    model, method, given = subject.model, registry.methods()[row.method].function, dict(row.parameters)
    chunk, count = best_chunk(model, inputs, True), len(inputs)
    rests = [behind(subject, inputs, place) for place in row.places]

    def at_once() -> None:
        method(model, inputs, targets, subject=subject, **given)

    def one_at_a_time() -> None:
        for one, target in zip(inputs.split(1), targets.split(1), strict=True):
            method(model, one, target, subject=subject, **given)

    def whole() -> None:
        passes(model, inputs, count * (len(rests) * STEPS * COPIES + row.of_inputs), True, chunk)

    def necessary() -> None:
        for rest in rests:
            rest()
        passes(model, inputs, count * row.of_inputs, True, chunk)

    runs: dict[str, Callable[[], Any]] = {
        "at once": at_once,
        "in turn": one_at_a_time,
        "passes": whole,
        "rest": necessary,
    }
    if layer is not None and row.inverse is not None:
        place = find_place("iba", model, inputs, layout_of(inputs), layer)
        known, inverse = statistics_of("iba", place, model, None, subject, MEMORY), row.inverse
        runs["released"] = partial(released, model, layer, inputs, targets, known, inverse)
    at_once()
    turns = [{name: timed(run) for name, run in runs.items()} for _ in range(TURNS)]
    best = {name: min(turn[name] for turn in turns) for name in runs}
    memory = grown(at_once)
    named = ", ".join(f"{key}={value}" for key, value in row.parameters)
    over = {name: best["at once"] / best[name] for name in ("passes", "rest")}
    slower = {name: f"{best[name] / best['at once']:.1f}" for name in runs}
    return (
        f"| {row.method} | {named} | {1000 * best['at once']:.0f} | {over['passes']:.2f} | "
        f"{over['rest']:.2f} | {slower['in turn']} | {slower.get('released', '')} | "
        f"{'' if memory is None else f'{memory:.0f}'} |"
    )


def fitting(subject: Subject, inputs: Tensor, targets: Tensor, epochs: int) -> str:
    """A row for the adversarial step of input_iba, and what the whole takes for an input."""
    method = registry.methods()["input_iba"].function

    def run(epochs: int) -> None:
        method(subject.model, inputs, targets, subject=subject, epochs=epochs)

    without, whole = timed(lambda: run(0)), timed(lambda: run(epochs))
    return (
        f"| its adversarial step | epochs={epochs} | {1000 * (whole - without):.0f} | | | | | |\n\n"
        f"input_iba: {whole / len(inputs):.2f} seconds an input"
    )


def one_image(network: str, side: int, epochs: int) -> str:
    """What an image of that side takes, step by step, foreseen from no epochs, one and two."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.get_model(network, weights=None).eval()
        inputs, data = torch.randn(1, 3, side, side), torch.randn(LEAST, 3, side, side)
    targets = torch.zeros(1, dtype=torch.int64)
    method = registry.methods()["input_iba"].function

    def run(epochs: int) -> float:
        return timed(lambda: method(model, inputs, targets, data=data, epochs=epochs))

    run(0)  # with the statistics of the layer, which are kept
    without, one, two = run(0), run(1), run(2)
    each = max(two - one, 0.0)
    return (
        f"input_iba on {network}, one image of {side} × {side}, {torch.get_num_threads()} threads: "
        f"{without:.1f} s without the adversarial step, {each:.1f} s for each of its epochs, "
        f"{without + epochs * each:.0f} s foreseen for {epochs}; the paper's 24 s are of a GPU"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", nargs="+", default=["digits"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--layer")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", nargs="+", metavar="METHOD")
    parser.add_argument("--image", metavar="NETWORK", help="of torchvision, such as mobilenet_v2 or vgg16")
    parser.add_argument("--side", type=int, default=224)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.image:
        print(one_image(arguments.image, arguments.side, arguments.epochs))
        return
    for spec in arguments.subject:
        subject = load_subject(spec)
        inputs, targets = subject.inputs[: arguments.batch], subject.targets[: arguments.batch]
        axes, layer = layout_of(inputs), arguments.layer or NAMED.get(subject.name)
        last = [find_place("iba", subject.model, inputs, axes)]
        several = find_resolutions("multilayer_iba", subject.model, inputs, axes, LAYERS)
        print(f"{subject.name}, {len(inputs)} inputs, {torch.get_num_threads()} threads\n")
        print("| method | parameters | ms | over passes | over the rest | one at a time | released | MiB |")
        print("|---|---|---|---|---|---|---|---|")
        for row in (
            Row("iba", last, inverse=False),
            Row("inverse_iba", last, inverse=True),
            Row("regression_iba", last),
            Row("multilayer_iba", several),
            Row("input_iba", last, INPUT_STEPS * COPIES, (("epochs", 0),)),
        ):
            if not arguments.only or row.method in arguments.only:
                print(measured(row, subject, inputs, targets, layer), flush=True)
        if not arguments.only or "input_iba" in arguments.only:
            print(fitting(subject, inputs, targets, arguments.epochs) + "\n")


if __name__ == "__main__":
    main()
