"""Time of the reference methods: over that of the passes they need, and over that of other libraries.

    pip install -e '.[peers]'
    python benchmarks/methods.py [--batch 1,32] [--only NAME,…] [--write docs/speed.md]
    python benchmarks/methods.py --subject digits 'benchmarks/subjects.py:mobilenet_v2?data=FOLDER'

Everything is timed in turns in one process, and the best of several turns counts. `passes` are the forward
and backward passes that the method cannot do without, in chunks of the size and in the memory format that
are best for the model; a peer that evaluates one variant of an input at a time unless it is told otherwise is
timed with 64 at a time as well. `memory` is what the process grew by at its peak, in MiB, during the method
(Linux). Peers are called themselves, not by their adapters.
"""

import argparse
import ctypes
import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "docs" / "make"))

import torch
from pages import Stamp, write
from torch import Tensor, nn

from xattr_check import load_subject
from xattr_check.core import registry
from xattr_check.perturbation.gradients import MEMORY
from xattr_check.perturbation.outputs import probe
from xattr_methods.activations._watch import last_spatial_layer

Run = Callable[[nn.Module, Tensor, Tensor], Any]
PACKAGES = ("torch", "captum", "zennit", "grad-cam", "saliency", "shap")
LONGEST = 30.0  # seconds of a turn
CHUNKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Entry:
    """A method with its parameters, and what else there is to compare it with.

    forwards, backwards: passes of one input that it needs. in_turn: whether each waits for the one before it.
    peers: the same by others, at the same settings.
    """

    name: str
    forwards: float
    backwards: float = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    peers: Mapping[str, Run] = field(default_factory=dict)
    in_turn: bool = False


def captum(kind: str, layer: str | None = None, **given: Any) -> Run:
    def run(model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
        import captum.attr

        made = getattr(captum.attr, kind)
        explainer = made(model, model.get_submodule(layer)) if layer else made(model)
        return explainer.attribute(inputs, target=targets, **given)

    return run


def tunnel(**given: Any) -> Run:
    def run(model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
        from captum.attr import NoiseTunnel, Saliency

        return NoiseTunnel(Saliency(model)).attribute(inputs, target=targets, abs=False, **given)

    return run


def composite(kind: str) -> Run:
    def run(model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
        import zennit.composites
        from zennit.attribution import Gradient
        from zennit.canonizers import SequentialMergeBatchNorm

        made = getattr(zennit.composites, kind)(canonizers=[SequentialMergeBatchNorm()])
        with Gradient(model, made) as attributor:
            start = torch.eye(model(inputs[:1]).shape[1])[targets]
            return attributor(inputs, start)

    return run


def cam(kind: str, layer: str) -> Run:
    def run(model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        layers = [model.get_submodule(layer)]
        with (
            redirect_stdout(None),
            getattr(pytorch_grad_cam, kind)(model=model, target_layers=layers) as made,
        ):
            return made(inputs, targets=[ClassifierOutputTarget(int(target)) for target in targets])

    return run


def saliency(kind: str, smoothed: bool = False, **given: Any) -> Run:
    """One input after the other, and their variants at once where the library knows how."""

    def run(model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
        import saliency.core

        def call(batch: Any, call_model_args: Any, expected_keys: Any) -> Any:
            points = torch.as_tensor(batch, dtype=inputs.dtype).movedim(-1, 1).requires_grad_()
            selected = model(points)[:, call_model_args].sum()
            (gradients,) = torch.autograd.grad(selected, points)
            return {saliency.core.INPUT_OUTPUT_GRADIENTS: gradients.movedim(1, -1).numpy()}

        made = getattr(saliency.core, kind)()
        mask = made.GetSmoothedMask if smoothed else made.GetMask
        images = inputs.movedim(1, -1).double().numpy()
        return [
            mask(image, call, int(target), **given) for image, target in zip(images, targets, strict=True)
        ]

    return run


def shap(kind: str, background: Tensor, **given: Any) -> Run:
    def run(model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
        import shap

        made = getattr(shap, kind)(model, background)
        return [
            made.shap_values(row[None], ranked_outputs=1, **given) for row in inputs
        ]  # the most likely class: what all classes cost would be unfair

    return run


def entries(model: nn.Module, inputs: Tensor, few: bool) -> Iterator[Entry]:
    layer = last_spatial_layer(model, inputs)
    side = inputs.shape[-1]
    steps, samples, size = (10, 8, 4) if few else (50, 25, 8)
    window = side // 4
    variants = 4 * size**2 if few else 1000
    grid = {"cells": size}
    cell = side // size
    ids = torch.arange(side) // cell
    mask = (ids[:, None] * size + ids)[None, None].expand(1, inputs.shape[1], side, side).contiguous()
    whole = {
        "sliding_window_shapes": (inputs.shape[1], window, window),
        "strides": (inputs.shape[1], window, window),
    }

    yield Entry("gradient", 1, 1, {}, {"captum": captum("Saliency", abs=False)})
    yield Entry("input_x_gradient", 1, 1, {}, {"captum": captum("InputXGradient")})
    yield Entry(
        "integrated_gradients", steps, steps, {"steps": steps},
        {
            "captum": captum("IntegratedGradients", n_steps=steps, method="riemann_middle"),
            "saliency": saliency("IntegratedGradients", x_steps=steps, batch_size=64),
        },
    )  # fmt: skip
    smoothed = {
        "captum": tunnel(nt_samples=samples, stdevs=0.5),
        "saliency": saliency("GradientSaliency", True, nsamples=samples),
    }
    yield Entry("smoothgrad", samples, samples, {"samples": samples}, smoothed)
    squared = {"captum": tunnel(nt_samples=samples, stdevs=0.5, nt_type="smoothgrad_sq")}
    yield Entry("smoothgrad_squared", samples, samples, {"samples": samples}, squared)
    variance = {"captum": tunnel(nt_samples=samples, stdevs=0.5, nt_type="vargrad")}
    yield Entry("vargrad", samples, samples, {"samples": samples}, variance)
    yield Entry("smooth_integrated_gradients", samples * 5, samples * 5, {"samples": samples, "steps": 5})
    background = torch.randn(samples, *inputs.shape[1:])
    yield Entry(
        "expected_gradients", samples, samples, {"samples": samples, "background": background},
        {
            "captum": captum("GradientShap", baselines=background, n_samples=samples),
            "shap": shap("GradientExplainer", background, nsamples=samples),
        },
    )  # fmt: skip
    yield Entry("deconvnet", 1, 1, {}, {"captum": captum("Deconvolution")})
    yield Entry("guided_backprop", 1, 1, {}, {"captum": captum("GuidedBackprop")})
    # The input's gradient and the biases' come from the same pass.
    yield Entry("fullgrad", 1, 1, {}, {"pytorch-grad-cam": cam("FullGrad", layer)})
    yield Entry("deeplift", 2, 1, {}, {"captum": captum("DeepLift")})
    references = {"background": background[:5]}
    yield Entry("deepshap", 6, 5, references, {"captum": captum("DeepLiftShap", baselines=background[:5])})
    # Activations, the denominators of the rule, and the way back.
    yield Entry("lrp", 2, 1, {}, {"zennit": composite("EpsilonPlus")})
    yield Entry("deep_taylor", 2, 1)
    yield Entry("excitation_backprop", 2, 1, {}, {"zennit": composite("ExcitationBackprop")})
    yield Entry("cam", 1)
    yield Entry(
        "gradcam", 1, 0.1, {"layer": layer},
        {
            "captum": captum("LayerGradCam", layer, relu_attributions=True),
            "pytorch-grad-cam": cam("GradCAM", layer),
        },
    )  # fmt: skip
    yield Entry(
        "gradcam_plus_plus", 1, 0.1, {"layer": layer}, {"pytorch-grad-cam": cam("GradCAMPlusPlus", layer)}
    )
    # Two ways back through the same rectifiers, and each has a forward pass of its own.
    yield Entry("guided_gradcam", 2, 1.1, {"layer": layer}, {"captum": captum("GuidedGradCam", layer)})
    # One pass for the scores of the neurons, one for the gradient of those that are chosen.
    yield Entry("pathway_gradient", 2, 2)
    yield Entry(
        "occlusion", 17, 0, {"window": window, "stride": window},
        {
            "captum": captum("Occlusion", **whole),
            "captum, 64 at a time": captum("Occlusion", perturbations_per_eval=64, **whole),
        },
    )  # fmt: skip
    yield Entry(
        "occlusion", size**2 + 1, 0, {"regions": "grid", **grid},
        {
            "captum": captum("FeatureAblation", feature_mask=mask),
            "captum, 64 at a time": captum("FeatureAblation", feature_mask=mask, perturbations_per_eval=64),
        },
    )  # fmt: skip
    for name, kind in (("lime", "Lime"), ("kernel_shap", "KernelShap")):
        given = {"n_samples": variants, "feature_mask": mask}
        yield Entry(
            name, variants, 0, {"samples": variants, **grid},
            {
                "captum": captum(kind, **given),
                "captum, 64 at a time": captum(kind, perturbations_per_eval=64, **given),
            },
        )  # fmt: skip
    orders = 2 if few else 8
    given = {"n_samples": orders, "feature_mask": mask}
    yield Entry(
        "shapley", orders * size**2, 0, {"permutations": orders, **grid},
        {
            "captum": captum("ShapleyValueSampling", **given),
            "captum, 64 at a time": captum("ShapleyValueSampling", perturbations_per_eval=64, **given),
        },
    )  # fmt: skip
    yield Entry("rise", variants, 0, {"masks": variants})
    yield Entry("xrai", 2 * steps, 2 * steps, {"steps": steps}, {"saliency": xrai(steps)})
    turns = 20 if few else 100
    yield Entry("meaningful_perturbation", turns, turns, {"iterations": turns}, in_turn=True)
    yield Entry("extremal_perturbation", turns, turns, {"iterations": turns}, in_turn=True)


def xrai(steps: int) -> Run:
    def run(model: nn.Module, inputs: Tensor, targets: Tensor) -> Any:
        from saliency.core import XRAIParameters

        return saliency("XRAI", batch_size=64, extra_parameters=XRAIParameters(steps=steps))(
            model, inputs, targets
        )

    return run


def passes(model: nn.Module, inputs: Tensor, count: int, backward: bool, chunk: int) -> None:
    """So many passes of inputs, as a loop that does nothing else would make them."""
    layout = probe(model, inputs).layout
    while count > 0:
        size = min(chunk, count)
        batch = inputs[torch.arange(size) % len(inputs)].contiguous(memory_format=layout)
        if backward:
            batch.requires_grad_()
            torch.autograd.grad(model(batch)[:, 0].sum(), batch)
        else:
            with torch.inference_mode():
                model(batch)
        count -= size


def best_chunk(model: nn.Module, inputs: Tensor, backward: bool) -> int:
    """The size of chunks in which passes are fastest, of those that fit the default budget."""
    fitting = [size for size in CHUNKS if size * probe(model, inputs).bytes * (1 + backward) <= MEMORY]
    most = 2 * max(fitting)

    def seconds(size: int) -> float:
        return min(timed(lambda: passes(model, inputs, most, backward, size)) for _ in range(3))

    return min(fitting, key=seconds)


def timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def grown(run: Callable[[], Any]) -> float | None:
    """MiB that the process takes at its peak more than before."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None

    def status(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1])

    before = status("VmRSS")
    run()
    return (status("VmHWM") - before) / 1024


def measured(entry: Entry, model: nn.Module, inputs: Tensor, targets: Tensor, chunks: tuple[int, int]) -> str:
    """One row of the table for each peer, or one where there is none."""
    method = registry.methods()[entry.name]
    count = len(inputs)
    both = round(count * entry.backwards)
    alone = round(count * entry.forwards) - both

    def necessary() -> None:
        passes(model, inputs, both, True, min(count, chunks[1]) if entry.in_turn else chunks[1])
        passes(model, inputs, alone, False, chunks[0])

    runs: dict[str, Callable[[], Any]] = {
        "passes": necessary,
        "ours": lambda: method(model, inputs, targets, **entry.parameters),
    }
    for name, peer in entry.peers.items():
        runs[name] = lambda peer=peer: peer(model, inputs, targets)
    best: dict[str, float] = {}
    refused: dict[str, str] = {}
    spent = 0.0
    for turn in range(10):
        for name, run in runs.items():
            if name in refused:
                continue
            try:
                seconds = timed(run)
            except Exception as error:
                refused[name] = type(error).__name__
                continue
            spent += seconds
            best[name] = min(best.get(name, float("inf")), seconds)
        if turn and spent > 15:
            break
    memory = grown(runs["ours"])
    parameters = ", ".join(
        f"{key}={value}" for key, value in entry.parameters.items() if not isinstance(value, Tensor | str)
    )
    own = (
        f"| {entry.name} | {parameters} | {1000 * best['ours']:.0f} | {best['ours'] / best['passes']:.2f} | "
        f"{'' if memory is None else f'{memory:.0f}'} |"
    )
    peers = [
        f"{name}: {best[name] / best['ours']:.2f}" if name in best else f"{name}: {refused[name]}"
        for name in entry.peers
    ]
    return f"{own} {'; '.join(peers)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", nargs="+", default=["digits"])
    parser.add_argument("--batch", default="1,32")
    parser.add_argument("--only", default="")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    stamp = Stamp.now("speed")
    warnings.simplefilter("ignore")
    lines: list[str] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    for spec, batch in itertools.product(arguments.subject, map(int, arguments.batch.split(","))):
        subject = load_subject(spec)
        model = subject.model
        inputs, targets = subject.inputs[:batch], subject.targets[:batch]
        chunks = (best_chunk(model, inputs, False), best_chunk(model, inputs, True))
        say(f"## {subject.name}, {batch} at once")
        say()
        say(f"{torch.get_num_threads()} threads, passes in chunks of {chunks[0]}, with backward {chunks[1]}.")
        say()
        say("| method | parameters | ms | over passes | MiB | peers over ours |")
        say("|---|---|---|---|---|---|")
        unit = timed(lambda: passes(model, inputs, 8, True, chunks[1])) / 24  # noqa: B023
        for entry in entries(model, inputs, inputs.shape[-1] > 64):
            wanted = not arguments.only or entry.name in arguments.only.split(",")
            if wanted and batch * (entry.forwards + 2 * entry.backwards) * unit < LONGEST:
                try:
                    say(measured(entry, model, inputs, targets, chunks))
                except ValueError as error:
                    say(f"| {entry.name} | | | | | {error} |")
        say()
    say("With " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".")
    if arguments.write:
        write(arguments.write, "speed", stamp, figures="\n".join(lines))


if __name__ == "__main__":
    main()
