"""DeepLIFT."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.errors import Declined
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.gradients import MEMORY, chunk_size, lay_out
from xattr_methods._arguments import expect_finite
from xattr_methods.relevance._calls import Call
from xattr_methods.relevance._differences import Difference, Halves
from xattr_methods.relevance._tape import Tape

RULES = ("rescale", "reveal_cancel")
# Up to so many rows references are taken side by side: calls cost more than passes there.
BESIDE = 16


def accepts(call: Call) -> bool:
    """Whether there is a rule for a call: there is for all that can be written down."""
    return True


def baseline_rows(name: str, inputs: Tensor, baseline: float | Tensor) -> Tensor:
    """The baseline as one row for all inputs, (1, *F), or as one for each, (N, *F). Raises ValueError."""
    expect_finite(name, baseline=baseline)
    rows = torch.as_tensor(baseline, dtype=inputs.dtype, device=inputs.device).detach()
    count = len(inputs) if rows.ndim == inputs.ndim and len(rows) != 1 else 1
    try:
        return rows.expand(count, *inputs.shape[1:]).contiguous()
    except RuntimeError:
        raise ValueError(
            f"{name}: expected a baseline that broadcasts to {tuple(inputs.shape)}, came {tuple(rows.shape)}"
        ) from None


def run_there(here: Tape, row: Tensor) -> Tape:
    """The tape of a baseline, of one row or as many as the inputs, to go with the tape of inputs.

    One row serves all inputs where the model keeps them apart in a dimension of their own. Raises ValueError
    where the model computes something else for the baseline.
    """
    for rows in sorted({len(row), len(here.input)}):
        there = Tape(here.method, here.model, here.accepts, values=True)
        there.run(lay_out(here.model, row.expand(rows, *row.shape[1:])))
        if goes_with(here, there):
            return there
    raise Declined(
        f"{here.method}: the model calls other functions for the baseline than for the inputs; "
        "use xattr:integrated_gradients instead"
    )


def goes_with(here: Tape, there: Tape) -> bool:
    """Whether two tapes have the same calls, with outputs of shapes that agree or are 1 in the second."""
    return len(here.calls) == len(there.calls) and all(
        one.name == other.name and _fits(one.outputs, other.outputs)
        for one, other in zip(here.calls, there.calls, strict=True)
    )


def _fits(here: Sequence[Tensor], there: Sequence[Tensor]) -> bool:
    return len(here) == len(there) and all(
        a.ndim == b.ndim and all(n in (m, 1) for m, n in zip(a.shape, b.shape, strict=True))
        for a, b in zip(here, there, strict=True)
    )


def contributions(
    name: str,
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    references: Sequence[Tensor],
    rule: str,
    memory: int,
) -> Tensor:
    """Contributions of inputs (N, *F) to the difference of the target's logit, averaged over references.

    references: each (1, *F) for all inputs, or (N, *F).
    """
    if rule not in RULES:
        raise ValueError(f"{name}: expected rule= one of {', '.join(RULES)}, came {rule!r}")
    shared: dict[int, Tape] = {}  # the tapes of references of one row
    chunks = Chunks(chunk_size(model, inputs, memory // (2 if rule == "rescale" else 4)))

    def explained(rows: slice) -> Tensor:
        chosen = targets[rows]
        here: Tape | None = None
        start = torch.empty(0)

        def added(numbers: slice) -> Tensor:
            """The sum over some of the references, side by side."""
            nonlocal here, start
            some = references[numbers]
            if here is None or len(here.input) != len(some) * len(chosen):
                here = Tape(name, model, accepts)
                logits = here.run(lay_out(model, torch.cat([inputs[rows]] * len(some))).detach()).detach()
                start = torch.zeros_like(logits).scatter(1, chosen.repeat(len(some))[:, None], 1.0)
            there = shared.get(numbers.start) if len(some) == 1 else None
            if there is None or not goes_with(here, there):
                own = [one if len(one) == 1 else one[rows] for one in some]
                if len(own) > 1:
                    own = [torch.cat([one.expand_as(inputs[rows]) for one in own])]
                there = run_there(here, own[0])
                if len(there.input) == 1:
                    shared[numbers.start] = there
            found = _between(here, there, start, rule)
            return found.reshape(len(some), *inputs[rows].shape).sum(0)

        beside = Chunks(min(BESIDE, chunks.size) // len(chosen))
        total = torch.zeros_like(inputs[rows])
        for _, one in beside.over(added, len(references)):
            total += one
        return total / len(references)

    maps = [one for _, one in chunks.over(explained, len(inputs))]
    return torch.cat(maps).contiguous() if maps else torch.zeros_like(inputs)


@torch.no_grad()
def _between(here: Tape, there: Tape, start: Tensor, rule: str) -> Tensor:
    """Contributions to what start (N, K) picks of the output's difference."""
    if rule == "rescale":
        difference = Difference(here, there)
        return here.backward(start, difference.rescale) * difference.of(here.input)
    halves = Halves(here, there)
    sent = here.backward(torch.stack([start, start]), halves.reveal_cancel)
    return (sent * torch.stack(halves.parts(here.input))).sum(0)


@method(
    claims=(
        "completeness",
        "dummy",
        "sensitivity",
        "linearity",
        "symmetry",
        "input_independence",
        "scale_covariance",
        "permutation_equivariance",
    )
)
def deeplift(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    baseline: float | Tensor = 0.0,
    rule: str = "rescale",
    memory: int = MEMORY,
) -> Tensor:
    """Contributions to the change of the target's logit from a baseline, (N, *F). [shrikumar2017]

    baseline: a value, or a tensor that broadcasts to inputs (N, *F).
    rule: `rescale`, or `reveal_cancel`, which follows rises and falls apart, in all layers.
    memory: bytes that one chunk of inputs may take, activations included.

    A nonlinearity has the multiplier Δy / Δx, and its derivative where Δx is rounding; a maximum hands its
    rise to the input's winner and its fall to the baseline's. The multipliers start at the logit. Products of
    activations, softmax and LayerNorm are taken apart: a factor of a product has the mean of the other one
    here and at the baseline, and exponentials, logarithms and roots are nonlinearities like others; what they
    make has one multiplier for rises and falls under `reveal_cancel`.
    Completeness (summation to delta, § 3.1 there) holds up to rounding.
    Raises Declined, a ValueError, where the model calls an LSTM or another function without a rule.
    """
    rows = baseline_rows("deeplift", inputs, baseline)
    return contributions("deeplift", model, inputs, targets, [rows], rule, memory)
