"""The rules of layer-wise relevance propagation, and the way back along a tape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import in_chunks
from xattr_methods._arguments import like_inputs
from xattr_methods.relevance._calls import CONVOLUTIONS, Call
from xattr_methods.relevance._linear_layers import Layer, layer_of, merged, safe
from xattr_methods.relevance._normalised import norm_of
from xattr_methods.relevance._tape import Pairs, Tape

# Nonlinearities that keep the sign of their argument and map zero to zero: relevance passes them unchanged.
RECTIFIERS = frozenset({"relu", "relu6", "hardtanh", "clamp", "clamp_min", "clip"})
PASSED = RECTIFIERS | {"leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "tanh"}
# Where their lower bound is an argument, it has to be zero.
BOUND = {"hardtanh": "min_val", "clamp": "min", "clamp_min": "min", "clip": "min"}

Bound = float | Tensor | None


@dataclass(frozen=True, eq=False)
class Rules:
    """Which rule each kind of layer gets, by the name of a method of `Propagation`, and their parameters.

    dense, convolution: `epsilon`, `gamma`, `alphabeta` or `zplus`. sums: of additions and average pools, in
        proportion to all contributions (`epsilon`) or to the positive ones (`zplus`).
    first: `box`, `wsquare`, `flat` or `shifted`, for layers that read the input; None leaves them theirs.
    bias: whether biases take their share, as an input that is always on.
    passed: the nonlinearities that are accepted.
    attention: whether softmax, products of activations and LayerNorms are accepted, by the rules of
        [achtibat2024].
    low, high: the box of the input for `box`; None takes the range of each input, with zero.
    """

    dense: str
    convolution: str
    sums: str
    first: str | None = None
    bias: bool = True
    passed: frozenset[str] = PASSED
    attention: bool = False
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    beta: float = 1.0
    low: Bound = None
    high: Bound = None

    def accepts(self, call: Call) -> bool:
        """Whether there is a rule for a call."""
        if call.kind in ("product", "softmax", "norm"):
            return self.attention
        if call.kind != "pointwise":
            return True
        bound = call.argument(1, BOUND[call.name]) if call.name in BOUND else 0
        return call.name in self.passed and isinstance(bound, int | float) and bound == 0


class Propagation:
    """Sends relevance back along a tape, by a rule for each layer.

    low, high: what the input lies between, (N, *F) each.

    A BatchNorm, a constant factor or a constant summand behind a linear layer is made one map with it first.
    Elsewhere each output of theirs has a single input, which takes all the relevance, but for the share of a
    constant that is added to what a model made.
    """

    def __init__(self, tape: Tape, rules: Rules, low: Tensor, high: Tensor) -> None:
        self.tape, self.rules, self.low, self.high = tape, rules, low, high
        self.layers: dict[int, Layer] = {}
        self._non_negative: dict[int, bool] = {}
        for call in tape.calls:
            layer = None
            if call.kind == "layer":
                layer = layer_of(call)
            elif call.kind == "affine" and id(call.sources[0]) in self.layers:
                layer = merged(self.layers[id(call.sources[0])], call)
            if layer is not None:
                self.layers[id(call.outputs[0])] = layer

    def rule(self, call: Call, arriving: Sequence[Tensor]) -> Pairs:
        """What a call sends to earlier activations, of the relevance that arrives at its outputs."""
        if layer := self.layers.get(id(call.outputs[0])):
            return [(layer.source, self.through_layer(layer, arriving[0]))]
        if call.kind == "sum":
            return zip(call.sources, self._through_sum(call, arriving[0]), strict=True)
        if call.kind == "product":
            shares = call.pull([arriving[0] / (2 * self._stabilised(call.outputs[0]))])
            return [(source, source * share) for source, share in zip(call.sources, shares, strict=True)]
        (source, *_) = call.sources
        if call.kind == "softmax":
            return [(source, self._through_softmax(call, arriving[0]))]
        if call.kind == "norm":
            return [(source, self._through_norm(call, arriving[0]))]
        if call.kind == "affine" and self._shares_with_constant(call, source):
            (share,) = call.pull([arriving[0] / self._stabilised(call.outputs[0])])
            return [(source, source * share)]
        if call.kind in ("affine", "pointwise"):
            return [(source, arriving[0].sum_to_size(source.shape))]
        return zip(call.sources, call.pull(arriving), strict=True)

    def _shares_with_constant(self, call: Call, source: Tensor) -> bool:
        """Whether a tensor is added that takes its share as a bias does, as are places of tokens.

        Not to the input itself, which is shifted so, and not one number, which says nothing of its own.
        """
        added = call.name in ("add", "sub", "rsub") and any(one.numel() > 1 for one in call.constants)
        shares = self.rules.bias and self.rules.sums == "epsilon"
        return added and shares and not self.reads_input(source)

    def through_layer(self, layer: Layer, relevance: Tensor) -> Tensor:
        """The relevance of a layer's source, by the rule that the layer gets."""
        rules = self.rules
        # Patches that become the tokens of a transformer: z⁺ is for stacks of convolutions, and bad for them.
        dense = layer.chain[0].name not in CONVOLUTIONS or (layer.tiles and self.reads_input(layer.source))
        name = rules.dense if dense else rules.convolution
        if rules.first and self.reads_input(layer.source):
            name = rules.first
        spread: Callable[[Layer, Tensor], Tensor] = getattr(self, f"_{name}")
        return spread(layer, relevance)

    def reads_input(self, source: Tensor) -> bool:
        """Whether nothing but copying, scaling and shifting lies between the input and an activation."""
        if source is self.tape.input:
            return True
        call = self.tape.producer[id(source)]
        return call.kind in ("move", "affine") and all(self.reads_input(one) for one in call.sources)

    def _epsilon(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Rⱼ = Σₖ xⱼ wⱼₖ / (zₖ + ε sign zₖ) Rₖ."""
        return layer.source * layer.pull(relevance / self._stabilised(layer.output))

    def _stabilised(self, output: Tensor) -> Tensor:
        """z + ε sign z, to divide by."""
        epsilon = self.rules.epsilon
        return output + output.new_tensor(epsilon).copysign(output) if epsilon else safe(output)

    def _zplus(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Rⱼ = Σₖ (xⱼ wⱼₖ)⁺ / Σᵢ (xᵢ wᵢₖ)⁺ Rₖ."""
        total, spread = self._part(layer, positive=True)
        return spread(relevance / safe(total))

    def _alphabeta(self, layer: Layer, relevance: Tensor) -> Tensor:
        """α of the positive contributions minus β of the negative ones, each as in z⁺."""
        sent = self.rules.alpha * self._zplus(layer, relevance)
        if self.rules.beta:
            total, spread = self._part(layer, positive=False)
            sent = sent - self.rules.beta * spread(relevance / safe(total))
        return sent

    def _gamma(self, layer: Layer, relevance: Tensor) -> Tensor:
        """As ε = 0, with γ more of the contributions that have the sign of zₖ. [andeol2021]

        That is w + γ w⁺ in place of w, where inputs and outputs are positive.
        """
        output, gamma = layer.output, self.rules.gamma
        plain, sent = torch.zeros_like(output), torch.zeros_like(layer.source)
        for positive in (True, False):
            total, spread = self._part(layer, positive)
            chosen = output > 0 if positive else output < 0
            ratio = torch.where(chosen, relevance / safe(output + gamma * total), 0)
            plain, sent = plain + ratio, sent + gamma * spread(ratio)
        return sent + layer.source * layer.pull(plain)

    def _box(self, layer: Layer, relevance: Tensor) -> Tensor:
        """zᴮ: contributions xⱼ wⱼₖ − lⱼ wⱼₖ⁺ − hⱼ wⱼₖ⁻, for inputs between l and h."""
        low, high = self._bounds(layer.source)
        up, down = layer.weight.clamp_min(0), layer.weight.clamp_max(0)
        total, spread = _terms(layer, [(layer.source, layer.weight), (-low, up), (-high, down)])
        return spread(relevance / safe(total))

    def _shifted(self, layer: Layer, relevance: Tensor) -> Tensor:
        """z⁺ of how far inputs are above their lower bound."""
        low, _ = self._bounds(layer.source)
        total, spread = _terms(layer, [(layer.source - low, layer.weight.clamp_min(0))])
        return spread(relevance / safe(total))

    def _wsquare(self, layer: Layer, relevance: Tensor) -> Tensor:
        """w²: in proportion to the squares of the weights, whatever the input."""
        total, spread = _terms(layer, [(torch.ones_like(layer.source), layer.weight**2)])
        return spread(relevance / safe(total))

    def _flat(self, layer: Layer, relevance: Tensor) -> Tensor:
        """In equal parts to all inputs of a unit."""
        total, spread = _terms(layer, [(torch.ones_like(layer.source), torch.ones_like(layer.weight))])
        return spread(relevance / safe(total))

    def _part(self, layer: Layer, positive: bool) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The contributions of one sign: their sum at each output, and how a share of each is sent back."""
        source, up, down = layer.source, layer.weight.clamp_min(0), layer.weight.clamp_max(0)
        if not positive:
            up, down = down, up
        pairs = [(source.clamp_min(0), up)]
        if not self._is_non_negative(source):
            pairs.append((source.clamp_max(0), down))
        total, spread = _terms(layer, pairs)
        if self.rules.bias and layer.bias is not None:
            total = total + (layer.bias.clamp_min(0) if positive else layer.bias.clamp_max(0))
        return total, spread

    def _through_sum(self, call: Call, relevance: Tensor) -> list[Tensor]:
        """Shares in proportion to the contributions, or to the positive ones."""
        sources, total = call.sources, call.outputs[0]
        if self.rules.sums == "zplus" and not self._is_non_negative(total):
            sources = [
                torch.where(sign > 0, source.clamp_min(0), source.clamp_max(0))
                for sign, source in zip(call.signs(), call.sources, strict=True)
            ]
            (total,) = call.replay(sources)
        shares = call.pull([relevance / safe(total)])
        return [source * share for source, share in zip(sources, shares, strict=True)]

    def _through_softmax(self, call: Call, relevance: Tensor) -> Tensor:
        """Rᵢ = xᵢ (R′ᵢ − sᵢ Σⱼ R′ⱼ): its Taylor expansion at x, of which the constant term keeps the rest."""
        (source,), (output,) = call.sources, call.outputs
        total = relevance.sum(call.argument(1, "dim"), keepdim=True)
        return source.masked_fill(source.isinf(), 0) * (relevance - output * total)

    def _through_norm(self, call: Call, relevance: Tensor) -> Tensor:
        """By ε, as a linear map: what it divides by is taken to be constant."""
        (source,), norm = call.sources, norm_of(call)
        ratio = relevance / self._stabilised(call.outputs[0])
        return source * norm.centre(norm.weighted(ratio) * norm.scale(norm.centre(source)))

    def _bounds(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """The box of the input, taken to an activation that reads it."""
        if source is self.tape.input:
            return self.low, self.high
        call = self.tape.producer[id(source)]
        place = next(place for place, output in enumerate(call.outputs) if output is source)
        bounds = zip(*(self._bounds(one) for one in call.sources), strict=True)
        low, high = (call.replay(corner)[place] for corner in bounds)
        return torch.minimum(low, high), torch.maximum(low, high)  # a negative factor turns them round

    def _is_non_negative(self, activation: Tensor) -> bool:
        """Whether an activation has no negative values, as follows from the calls before it."""
        if activation is self.tape.input:
            return False
        if id(activation) not in self._non_negative:
            call = self.tape.producer[id(activation)]
            if call.kind == "pointwise":
                found = call.name in RECTIFIERS
            elif call.kind in ("move", "sum", "maximum"):
                known = call.name not in ("pad", "masked_fill", "sub", "rsub") and not call.constants
                found = known and all(self._is_non_negative(source) for source in call.sources)
            else:
                found = False
            self._non_negative[id(activation)] = found
        return self._non_negative[id(activation)]


def _terms(layer: Layer, pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The sum over pairs of a source and a weight of what the layer makes of them, and how it is shared out.

    The second sends back, for one value at each output, each source times its weighted sum, added up.
    """
    leaves = [source.detach().requires_grad_() for source, _ in pairs]
    with torch.enable_grad():
        outputs = [layer.apply(leaf, weight) for leaf, (_, weight) in zip(leaves, pairs, strict=True)]
        total = reduce(torch.add, outputs)

    def spread(ratio: Tensor) -> Tensor:
        shares = torch.autograd.grad(total, leaves, ratio)
        return reduce(torch.add, [leaf.detach() * one for leaf, one in zip(leaves, shares, strict=True)])

    return total.detach(), spread


def bounds_of(name: str, inputs: Tensor, low: Bound, high: Bound) -> tuple[Tensor, Tensor]:
    """The box, (N, *F) each: as given, else the range of each input for itself, with zero in it.

    A range over the batch would let a map depend on the other inputs. Raises ValueError in the name of a
    method for bounds that do not fit the inputs, are not finite, or have nothing between them.
    """
    flat, own = inputs.flatten(1), (-1, *[1] * (inputs.ndim - 1))
    lowest = like_inputs(name, inputs, low=flat.amin(1).clamp_max(0).reshape(own) if low is None else low)
    highest = like_inputs(name, inputs, high=flat.amax(1).clamp_min(0).reshape(own) if high is None else high)
    if crossed := int((lowest > highest).sum()):
        raise ValueError(f"{name}: expected low of at most high, came more for {crossed} of {lowest.numel()}")
    return lowest, highest


def propagate(
    name: str, model: nn.Module, inputs: Tensor, targets: Tensor, rules: Rules, memory: int
) -> Tensor:
    """Relevance of inputs (N, *F) for the target's logit, by rules."""

    def explained(inputs: Tensor, targets: Tensor, low: Tensor, high: Tensor) -> Tensor:
        tape = Tape(name, model, rules.accepts)
        logits = tape.run(inputs.detach()).detach()
        low, high = (torch.empty_like(tape.input).copy_(corner) for corner in (low, high))
        propagation = Propagation(tape, rules, low, high)
        if rules.first and not any(
            propagation.reads_input(one.source) for one in propagation.layers.values()
        ):
            raise Declined(
                f"{name}: no linear layer of this model reads the input, for the rule {rules.first!r}"
            )
        chosen = targets[:, None]
        start = torch.zeros_like(logits).scatter(1, chosen, logits.gather(1, chosen))
        return tape.backward(start, propagation.rule)

    box = bounds_of(name, inputs, rules.low, rules.high)
    # A tape holds what a forward and a backward pass hold; rules of both signs as much again.
    return in_chunks(explained, model, inputs, targets, memory // 2, *box)
