"""Gradients of the target's logit, at inputs and at many points around them, in chunks."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.outputs import probe

MEMORY = 2**29  # bytes of one chunk, activations and gradients included


# Inputs that are differentiated at once on a CPU, where more of them are slower.
CHUNK = 64


# Maps rows of the inputs (n of them) and numbers of points (k of them) to the points, (k, n, *F).
Points = Callable[[slice, slice], Tensor]


def slopes(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the target's logit at inputs (N, *F), all at once."""
    inputs = inputs.detach().requires_grad_()
    logits = model(inputs)
    # Rows do not mix in an eval-mode model, so one backward pass serves them all.
    selected = logits.gather(1, targets[:, None]).sum()
    (gradients,) = torch.autograd.grad(selected, inputs)
    return gradients


def lay_out(model: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs in the memory format in which the model is fastest."""
    return inputs.contiguous(memory_format=probe(model, inputs).layout)


def chunk_size(model: nn.Module, inputs: Tensor, memory: int) -> int:
    """How many inputs are differentiated at once: what fits `memory` bytes, and on a CPU no more than 64."""
    fitting = max(1, memory // (2 * probe(model, inputs).bytes))
    return min(CHUNK, fitting) if inputs.device.type == "cpu" else fitting


def in_chunks(
    explain: Callable[..., Tensor],
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    memory: int | None,
    *others: Tensor,
) -> Tensor:
    """The maps of explain(inputs, targets, *others), of as many inputs at once as fit `memory` bytes.

    memory: None for all of them, or as many as the device can take. others: (N, …) each.
    """
    if not len(inputs):
        return explain(inputs, targets, *others)
    size = len(inputs) if memory is None else chunk_size(model, inputs, memory)

    def explained(rows: slice) -> Tensor:
        with chosen(rows):
            return explain(lay_out(model, inputs[rows]), *(one[rows] for one in (targets, *others)))

    maps = [one for _, one in Chunks(size).over(explained, len(inputs))]
    return torch.cat(maps).contiguous()


def gradients_at(
    model: nn.Module, inputs: Tensor, targets: Tensor, points: Points, count: int, memory: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Gradients of the target's logit at `count` points for each input, in chunks that fit `memory` bytes.

    Yields the rows (n of them), the numbers of the points (k), and the gradients there, (k, n, *F). The
    chunks of one row follow each other, with its points in their order.
    """

    def slopes_at(rows: slice, numbers: slice) -> Tensor:
        where = points(rows, numbers)
        which = torch.arange(rows.start, rows.stop).repeat(len(where))
        with chosen(which):
            flat = lay_out(model, where.flatten(0, 1))
            return slopes(model, flat, targets[rows].repeat(len(where))).reshape(where.shape)

    return Chunks(chunk_size(model, inputs, memory)).over_pairs(slopes_at, len(inputs), count)
