"""Copies of a subject's model whose attributions follow from an axiom, and maps of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from xattr_axioms.contract._calls import STEPS, distance, repeat, steps, tolerance
from xattr_check.core import Draw, Explainer, Invalid, Measurement, Subject, Undefined
from xattr_check.core.context import chosen, first_rows
from xattr_check.errors import MethodError
from xattr_check.networks.rewrite import Compute, Plain, Rewritten
from xattr_check.networks.usage import Passes
from xattr_check.storage.digest import derive_seed

# Inputs to the first draw, where what is wrong everywhere shows, and to the others.
INPUTS, MORE = 8, 72
# Share of the inputs on which an axiom may fail at most: 75 without a failure show as much. Rounding takes a
# unit across its kink for one input in a hundred.
SHARE = 0.1
# Share of a map's norm beyond which two maps are apart. Rounding comes to 6e-7 of it, and to 1e-2 for one map
# in a hundred, where it takes a unit across its kink.
TOLERANCE = 0.01
# Units of a network beside the model, and inputs on which their ranges are measured.
UNITS, ESTIMATE = 16, 64
# How a copy is computed, and the modules beside it.
Formula = tuple[Compute, nn.Module | None]
# Weights (H, P) and biases (H,) of a linear map of the input.
Affine = tuple[Tensor, Tensor]


def stream(draw: Draw, name: str) -> torch.Generator:
    """A generator on the CPU for what all methods and draws of a run have in common."""
    return torch.Generator().manual_seed(derive_seed(name, draw.run.seed))


def make_copy(draw: Draw, key: str, make: Callable[[], Formula]) -> Rewritten:
    """A copy of the subject's model, made once in a run under a key that tells all its recipe depends on."""
    key = f"{key} {draw.run.seed}"

    def compute() -> Rewritten:
        return Rewritten(draw.subject.model, key, *make())

    found: Rewritten = draw.run.once(f"{key} {draw.subject.fingerprint}", compute)
    return found


def explain_copy(method: Explainer, copy: Rewritten, inputs: Tensor, targets: Tensor, draw: Draw) -> Tensor:
    """As `repeat`, of a copy of the subject's model.

    Raises Undefined where the method explains the model and not the copy, and MethodError where it explains
    neither.
    """
    copy.whole = copy.parts = 0
    try:
        maps = repeat(method, copy.model, inputs, targets)
    except MethodError as error:
        repeat(method, draw.subject.model, draw.inputs, draw.targets)
        raise Undefined(f"on the copy of the model that this check needs, the method {error}") from None
    if copy.bypassed:
        raise Undefined("the method calls the model's layers itself, and so explains no copy of the model")
    return maps


def multiple(draw: Draw, factor: float) -> Rewritten:
    """A copy of the model whose outputs are a multiple."""

    def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
        return factor * plain(inputs)

    return make_copy(draw, f"times {factor}", lambda: (compute, None))


def verify(copy: Rewritten, inputs: Tensor, draw: Draw, own: Tensor) -> None:
    """Raise Invalid where a copy does not compute for inputs what the model does for its own."""
    with torch.no_grad():
        ours, theirs = copy.model(inputs.clone()).double(), draw.subject.model(own.clone()).double()
    gap, size = float((ours - theirs).abs().max()), float(theirs.abs().max())
    if not gap <= steps(draw) * max(size, 1e-6):
        raise Invalid(
            f"a copy of the model that should compute the same is {gap:.3g} off outputs of {size:.3g}"
        )


def tell_apart(method: Explainer, maps: Tensor, others: Tensor, draw: Draw) -> Measurement:
    """Whether two maps (R, N, …) of an input that should be one are apart, 1 or 0, for each input.

    The evidence has how far, (N,), as a share of the larger norm.
    """
    # A copy rounds in more places than the model: what stands beside it is added and taken off.
    rounding = tolerance(method, draw, TOLERANCE, times=STEPS)
    gaps = distance(maps, others, steps(draw))
    worst = int(gaps.argmax())
    finding = (
        f"by {float(gaps.mean()):.2g} of their norm on average, and {float(gaps[worst]):.2g} for input "
        f"{int(draw.indices[worst])}"
    )
    beyond = (gaps > rounding).double()
    return Measurement(beyond, finding, evidence={"distance": gaps}, passes=passes(method, draw))


def count_beyond(method: Explainer, amounts: Tensor, draw: Draw) -> Measurement:
    """Whether a share of a map that should be 0 is more than rounding, 1 or 0, for each input.

    amounts: (N,) such shares, which the evidence has; NaN for an input of which there is none.
    """
    known = ~amounts.isnan()
    rows, indices = amounts[known], draw.indices[known.to(draw.indices.device)]
    if not len(rows):
        return Measurement(rows)
    worst = int(rows.argmax())
    finding = (
        f"{float(rows.mean()):.2g} of their attribution on average, and {float(rows[worst]):.2g} for "
        f"input {int(indices[worst])}"
    )
    beyond = (rows > steps(draw)).double()
    return Measurement(beyond, finding, evidence={"amount": rows}, passes=passes(method, draw))


def passes(method: Explainer, draw: Draw) -> float:
    """Passes through the model, forwards and backwards, for the map of an input; counted once in a run."""

    def count() -> float:
        counter = Passes()

        def counted(*arguments: Any) -> Any:
            with counter.through(draw.subject.model):
                return method.method(*arguments)

        with chosen(slice(2)):
            method.calling(counted).raw(draw.subject.model, draw.inputs[:2], draw.targets[:2])
        return (counter.forwards + counter.backwards) / len(draw.inputs[:2])

    found: float = draw.run.once(f"passes {id(method)} {draw.subject.fingerprint}", count)
    return found


def compare_copy(method: Explainer, copy: Rewritten, inputs: Tensor, draw: Draw, own: Tensor) -> Measurement:
    """Whether the maps of a copy for inputs are those of the model for its own, as in `tell_apart`."""
    verify(copy, inputs, draw, own)
    maps = repeat(method, draw.subject.model, own, draw.targets)
    return tell_apart(method, maps, explain_copy(method, copy, inputs, draw.targets, draw), draw)


def with_network(
    method: Explainer,
    draw: Draw,
    name: str,
    network: Callable[[Affine, Affine, Tensor], nn.Module],
    compute: Compute,
) -> Measurement:
    """As `compared`, of a copy with a random network beside the model.

    network: makes it of two linear maps of the input and of weights to the outputs (K, UNITS).
    """

    def make() -> Formula:
        inputs, logits = sample_outputs(draw.subject)
        generator = stream(draw, name)
        u, v = projections(inputs, generator), projections(inputs, generator)
        return compute, network(u, v, mixing(logits, generator))

    return compare_copy(method, make_copy(draw, name, make), draw.inputs, draw, draw.inputs)


def sample_outputs(subject: Subject) -> tuple[Tensor, Tensor]:
    """Some of the subject's inputs (n, P), flat, and the model's outputs on them (n, K)."""
    inputs = subject.inputs[:ESTIMATE]
    with torch.no_grad(), first_rows(len(inputs)):
        return inputs.flatten(1), subject.model(inputs.clone())


def projections(inputs: Tensor, generator: torch.Generator) -> Affine:
    """Weights (UNITS, P) and biases (UNITS,) of random linear maps, of deviation 1 on inputs (n, P)."""
    weights = torch.randn(UNITS, inputs.shape[1], generator=generator).to(inputs)
    weights = weights / (inputs @ weights.T).std(0, correction=0).clamp_min(1e-6)[:, None]
    return weights, -(inputs @ weights.T).mean(0)


def mixing(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Random weights (K, UNITS) with which units of deviation 1 change outputs as much as inputs do."""
    size = float(logits.std(0, correction=0).mean()) or 1.0
    weights: Tensor = torch.randn(logits.shape[1], UNITS, generator=generator).to(logits)
    return weights * (size / 4)


L = TypeVar("L", nn.Linear, nn.Conv1d)


def fill_layer(layer: L, weight: Tensor, bias: Tensor | None) -> L:
    """A layer with these weights and biases, which ask for no gradient."""
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))
    layer.eval()
    return layer


def dense(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer of weights (O, I) and biases (O,)."""
    # On no device: it is given its weights, and draws none.
    return fill_layer(nn.Linear(weight.shape[1], weight.shape[0], device="meta"), weight, bias)
