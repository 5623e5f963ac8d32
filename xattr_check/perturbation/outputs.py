"""The perturbation engine: outputs of a model on inputs of which parts are replaced.

All pairs of an input and a mask are evaluated in chunks that fit a memory budget; masks are built and
applied on the device, without gradients, and only the outputs are kept.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen
from xattr_check.core.layouts import Layout, fastest_format, layout_of
from xattr_check.core.outputs import Output, output_of, score
from xattr_check.perturbation.chunks import Chunks

# What is asked of a target: how much the outputs say that it holds, its output, or whether they name it.
Quantity = Literal["probability", "logit", "correct"]
# Maps flat indices of inputs (m,) and masks (m,) to keep masks (m, *spatial): bool, or float shares, where 0
# is the fill, 1 the input, and 2 goes as far beyond the input as the input is from the fill.
MaskOf = Callable[[Tensor, Tensor], Tensor]
# What stands where features are absent: (N, *F), or a function of indices of inputs (m,) and their keep masks
# (m, …), of as many dimensions as the inputs, that returns it (m, *F).
Absent = Tensor | Callable[[Tensor, Tensor], Tensor]
# Inputs that go forward at once on a CPU, where more of them are slower.
CHUNK = 128


@dataclass(frozen=True)
class Probe:
    """What a first forward pass of one input tells.

    bytes: of the input and of the outputs of all leaf modules. layout: the memory format to call it in.
    """

    bytes: int
    layout: torch.memory_format


_probes: "weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Probe]]" = weakref.WeakKeyDictionary()


def probe(model: nn.Module, inputs: Tensor) -> Probe:
    """Probe a model once for each shape of its inputs; of no inputs, nothing has to be known."""
    if not len(inputs):
        return Probe(1, torch.contiguous_format)
    shapes = _probes.setdefault(model, {})
    shape = tuple(inputs.shape[1:])
    if shape not in shapes:
        total = 0

        def count(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal total
            if isinstance(output, Tensor):
                total += output.numel() * output.element_size()

        leaves = [module for module in model.modules() if not list(module.children())]
        handles = [module.register_forward_hook(count) for module in leaves]
        try:
            with chosen(slice(1)):
                model(inputs[:1].clone())
        finally:
            for handle in handles:
                handle.remove()
        total += 3 * inputs[0].numel() * inputs.element_size()
        shapes[shape] = Probe(total, _layout(model, inputs))
    return shapes[shape]


def _layout(model: nn.Module, inputs: Tensor) -> torch.memory_format:
    """Channels last for images on the CPU, where convolutions are some three times faster in it.

    Not for a model that cannot take it, such as one that calls `view` on its activations.
    """
    fastest = fastest_format(inputs) if inputs.device.type == "cpu" else torch.contiguous_format
    if fastest != torch.contiguous_format:
        try:
            with chosen(slice(2)):
                model(inputs[:2].contiguous(memory_format=fastest))
        except RuntimeError:
            return torch.contiguous_format
    return fastest


@torch.no_grad()
def outputs_under(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    fill: Absent,
    mask_of: MaskOf,
    masks: int,
    *,
    output: Quantity,
    memory: int,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
) -> Tensor:
    """(N, masks) float64: what is asked of the target on every input under every mask.

    inputs: (N, *F); fill: what stands where a mask is False.
    mask_of: builds the keep masks of a chunk of pairs; a mask of shares mixes inputs and fill.
    output: the probability of the target, by what the model's outputs mean, its logit, or 1 where it is the
        one that they name, else 0.
    layout: of the inputs; guessed where that leaves no doubt. explained: what outputs mean, classes if None.
    memory: bytes that one chunk may take, activations included. When the device runs out of memory
        nevertheless, the chunk is halved and the work goes on.
    """
    count = len(inputs)
    pairs = count * masks
    cost, axes, meant = probe(model, inputs), layout_of(inputs, layout), output_of(explained)
    results = torch.empty(pairs, dtype=torch.float64, device=inputs.device)

    def outputs_of(some: slice) -> Tensor:
        flat = torch.arange(some.start, some.stop, device=inputs.device)
        rows, columns = flat // masks, flat % masks
        keep = axes.expand_any(mask_of(rows, columns))
        other = fill[rows] if isinstance(fill, Tensor) else fill(rows, keep)
        if keep.dtype == torch.bool:
            perturbed = torch.where(keep, inputs[rows], other)
        else:
            perturbed = torch.lerp(other, inputs[rows], keep.to(inputs.dtype))
        with chosen(rows):
            logits = model(perturbed.contiguous(memory_format=cost.layout))
        if output == "correct":
            return meant.correct(logits, targets[rows]).double()
        return (meant.probability if output == "probability" else score)(logits, targets[rows])

    fitting = memory // cost.bytes
    size = min(CHUNK, fitting) if inputs.device.type == "cpu" else fitting
    for some, values in Chunks(size).over(outputs_of, pairs):
        results[some] = values
    return results.reshape(count, masks)


def shared_masks(keep: Tensor) -> MaskOf:
    """The same masks (K, *spatial), bool or float, for every input."""
    return lambda rows, columns: keep[columns]


def ranked_masks(ranks: Tensor, first: Tensor, last: Tensor) -> MaskOf:
    """Masks that keep the features of some ranks.

    ranks: (N, *F) or (N, *spatial) int64, 0 for the first. first, last: (K,) int64, from where to where, or
        (N, K) for each input its own.
    """

    def mask_of(rows: Tensor, columns: Tensor) -> Tensor:
        own = ranks[rows]
        ends = (
            (end[columns] if end.ndim == 1 else end[rows, columns]).reshape(-1, *[1] * (own.ndim - 1))
            for end in (first, last)
        )
        return (own >= next(ends)) & (own < next(ends))

    return mask_of


def descending_ranks(scores: Tensor, generator: torch.Generator) -> Tensor:
    """(N, P) int64 rank of each feature, 0 for the highest score; ties fall at random, alike for all inputs.

    A stable sort of shuffled columns: without it, ties would fall in raster order, which is an order too.
    """
    shuffle = torch.randperm(scores.shape[1], generator=generator).to(scores.device)
    order = shuffle[scores[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    ranks = torch.empty_like(order)
    steps = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return ranks.scatter_(1, order, steps)
