"""The gradient of the target's logit, at the input and at many points around it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from xattr_check.method import method
from xattr_check.perturb import probe

MEMORY = 2**28  # bytes of one chunk, activations and gradients included
# Inputs that are differentiated at once on a CPU, where more of them are slower.
CHUNK = 64
# Maps rows of the inputs (n of them) and numbers of points (k of them) to the points, (k, n, *F).
Points = Callable[[slice, slice], Tensor]


@method(sensitivity=True)
def gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Signed gradient of the target's logit with respect to the input, (N, *F). [simonyan2014]"""
    inputs = inputs.detach().requires_grad_()
    logits = model(inputs)
    # Rows do not mix in an eval-mode model, so one backward pass serves them all.
    selected = logits.gather(1, targets[:, None]).sum()
    (gradients,) = torch.autograd.grad(selected, inputs)
    return gradients


def chunk_size(model: nn.Module, inputs: Tensor, memory: int) -> int:
    """How many inputs are differentiated at once: what fits `memory` bytes, and on a CPU no more than 64."""
    fitting = max(1, memory // (2 * probe(model, inputs).bytes))
    return min(CHUNK, fitting) if inputs.device.type == "cpu" else fitting


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover 0…count − 1."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def in_chunks(
    explain: Callable[[Tensor, Tensor], Tensor],
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    memory: int,
) -> Tensor:
    """The maps of explain(inputs, targets), of as many inputs at once as fit `memory` bytes."""
    size = chunk_size(model, inputs, memory)
    return torch.cat([explain(inputs[rows], targets[rows]) for rows in chunks(len(inputs), size)])


def gradients_at(
    model: nn.Module, inputs: Tensor, targets: Tensor, points: Points, count: int, memory: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Gradients of the target's logit at `count` points for each input, in chunks that fit `memory` bytes.

    Yields the rows (n of them), the numbers of the points (k), and the gradients there, (k, n, *F). The
    chunks of one row follow each other, with its points in their order.
    """
    size = chunk_size(model, inputs, memory)
    layout = probe(model, inputs).layout
    for rows in chunks(len(inputs), size):
        chosen_targets = targets[rows]
        for numbers in chunks(count, max(1, size // len(chosen_targets))):
            where = points(rows, numbers)
            flat = where.flatten(0, 1).contiguous(memory_format=layout)
            found = gradient(model, flat, chosen_targets.repeat(len(where)))
            yield rows, numbers, found.reshape(where.shape)
