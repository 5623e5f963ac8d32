"""Excitation backpropagation."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_methods._arguments import neighbours_of
from xattr_methods.activations._watch import watch_model
from xattr_methods.relevance._calls import Call
from xattr_methods.relevance._rules import RECTIFIERS, Bound, Propagation, Rules, bounds_of
from xattr_methods.relevance._tape import Pairs, Tape


@method(claims=("permutation_equivariance",))
def excitation_backprop(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    contrastive: bool = False,
    layer: str | None = None,
    call: int = -1,
    low: Bound = None,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Tensor:
    """Probability that each feature wins, when each unit passes the win to one input, (N, *F). [zhang2018]

    A unit hands its probability, 1 for the target, to its inputs in proportion to aⱼ wⱼₖ⁺; biases take
    nothing. The rule is for non-negative a: features are taken as how far they are above their lower bound.

    contrastive: subtract what a unit with the negated weights of the target would win, at the last layer. The
        map is signed then; the paper shows its positive part.
    layer, call: a module's name, at which to stop, as the paper does, and which of its calls if there are
        several: the map is that of its output, summed over channels, linear to the size of the input,
        (N, 1, H, W).
    low: the features' lower bound; by default the least value of each input, or zero if that is less.
    memory: bytes that one chunk of inputs may take, activations included.

    BatchNorm is made one map with the linear layer before it; additions and pools share as layers do. Raises
    ValueError where the model has other nonlinearities than ReLUs, or calls a function without a rule.
    """
    if layer is None and call != -1:
        raise ValueError(f"excitation_backprop: call={call}: expected layer=NAME beside it, came no layer")
    axes = neighbours_of("excitation_backprop, layer=", inputs, layout) if layer is not None else None
    rules = Rules("zplus", "zplus", "zplus", first="shifted", bias=False, passed=RECTIFIERS)

    def explained(inputs: Tensor, targets: Tensor, low: Tensor, high: Tensor) -> Tensor:
        tape = Tape("excitation_backprop", model, rules.accepts)
        with watch_model(model, layer, axes=inputs.ndim) if layer else nullcontext() as watch:
            logits = tape.run(inputs.detach()).detach()
        propagation = Propagation(tape, rules, low, high)
        start = torch.zeros_like(logits).scatter(1, targets[:, None], 1.0)
        rule = _contrasting(propagation) if contrastive else propagation.rule
        return tape.backward(start, rule, at=watch.activation(call) if watch else None)

    box = bounds_of("excitation_backprop", inputs, low, None)
    joined = in_chunks(explained, model, inputs, targets, memory // 2, *box)
    return joined if axes is None else axes.enlarged(joined.sum(1, keepdim=True))


def _contrasting(propagation: Propagation) -> Any:
    """The propagation's rule, less what the last layer sends with its weights negated. Raises ValueError."""
    top = propagation.layers.get(id(propagation.tape.output))
    if top is None:
        raise ValueError(
            "excitation_backprop: expected a model that ends with a linear layer for contrastive=True, came "
            f"one that ends with {propagation.tape.calls[-1].name}; leave it out"
        )

    def rule(call: Call, arriving: list[Tensor]) -> Pairs:
        if call.outputs[0] is not propagation.tape.output:
            return propagation.rule(call, arriving)
        (relevance,) = arriving
        for_it, against_it = (propagation.through_layer(one, relevance) for one in (top, top.negated))
        return [(top.source, for_it - against_it)]

    return rule
