"""Differences from a baseline, call by call, and the multipliers of DeepLIFT."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xattr_methods.relevance._calls import Call
from xattr_methods.relevance._linear_layers import layer_of
from xattr_methods.relevance._normalised import norm_of
from xattr_methods.relevance._tape import Pairs, Tape


class Difference:
    """A model on inputs and on a baseline, call by call, and the multipliers of their difference.

    here: the tape of the inputs; there: that of the baseline, of as many rows or of one.
    """

    def __init__(self, here: Tape, there: Tape) -> None:
        self.baseline = {id(here.input): there.input.detach()}
        for call, other in zip(here.calls, there.calls, strict=True):
            for output, output_there in zip(call.outputs, other.outputs, strict=True):
                self.baseline[id(output)] = output_there.detach()

    def of(self, activation: Tensor) -> Tensor:
        """Δ of an activation: the input's minus the baseline's."""
        return activation.detach() - self.baseline[id(activation)]

    def rescale(self, call: Call, arriving: Sequence[Tensor]) -> Pairs:
        """Multipliers by the linear and the rescale rule; those of other kinds have methods of their own."""
        if call.kind == "product":
            return zip(call.sources, self._through_product(call, arriving[0]), strict=True)
        if call.kind == "softmax":
            return [(call.sources[0], self._through_softmax(call, arriving[0]))]
        if call.kind == "norm":
            return [(call.sources[0], self._through_norm(call, arriving[0]))]
        if call.kind not in ("pointwise", "maximum"):
            return zip(call.sources, call.pull(arriving), strict=True)
        (source,), (output,), (multiplier,) = call.sources, call.outputs, arriving
        change = self.of(source)
        if call.kind == "pointwise":
            sent = multiplier * self.of(output)
        else:
            sent = self._through_maximum(call, multiplier)
        near = change.abs() <= rounding(self.baseline[id(source)].abs())
        return [(source, torch.where(near, call.pull(arriving)[0], sent / change))]

    def _through_maximum(self, call: Call, multiplier: Tensor) -> Tensor:
        """What of Δy each input makes: its rise goes to the input's winner, its fall to the baseline's.

        The winner of the higher maximum differs from its own baseline by at least Δy, so that no quotient
        exceeds one.
        """
        (source,), (output,) = call.sources, call.outputs
        change = self.of(output)
        twin = self.baseline[id(source)].expand_as(source).contiguous().requires_grad_()
        with torch.enable_grad():
            (maximum, *_) = call.replay([twin])
        (fall,) = torch.autograd.grad(maximum, twin, multiplier * change.clamp_max(0))
        (rise,) = call.pull([multiplier * change.clamp_min(0)])
        return rise + fall

    def _through_product(self, call: Call, multiplier: Tensor) -> Sequence[Tensor]:
        """Of each factor, the mean of the other one: Δ(ab) = Δa (b + b′)/2 + (a + a′)/2 Δb."""
        middles = [
            ((source.detach() + self.baseline[id(source)]) / 2).requires_grad_() for source in call.sources
        ]
        with torch.enable_grad():
            outputs = call.replay(middles)
        return torch.autograd.grad(outputs, middles, multiplier)

    def _through_softmax(self, call: Call, multiplier: Tensor) -> Tensor:
        """As exp(x − log Σ exp x): the rescale rule for both functions and the logarithm."""
        (source,) = call.sources
        axis = call.argument(1, "dim")
        ends = [one.to(multiplier) for one in (source.detach(), self.baseline[id(source)])]
        wholes = [one.logsumexp(axis, keepdim=True) for one in ends]
        sent = multiplier * _mean_of_exp(*(one - whole for one, whole in zip(ends, wholes, strict=True)))
        # Their quotient is the same wherever the exponents are counted from.
        top = torch.maximum(*wholes)
        shares = _mean_of_exp(*(one - top for one in ends)) / _mean_of_exp(*(one - top for one in wholes))
        return sent - shares * sent.sum(axis, keepdim=True)

    def _through_norm(self, call: Call, multiplier: Tensor) -> Tensor:
        """As c · r with r = 1 / √(mean c² + ε), and the rescale rule for r.

        Δ(cr) = Δc r̄ + c̄ Δr with the harmonic mean r̄ = 2 r r′ / (r + r′), and so c̄ = (cr + c′r′) / (r + r′):
        where the numbers of a token are all alike at the baseline, its r′ is so large that with the mean of r
        and r′ all digits would be lost.
        """
        (source,), norm = call.sources, norm_of(call)
        here, there = norm.centre(source.detach()), norm.centre(self.baseline[id(source)])
        scale, scale_there = norm.scale(here), norm.scale(there)
        weighted, both = norm.weighted(multiplier), scale + scale_there
        # Δr / Δ(mean c²), written so that nothing is divided by a difference.
        slope = -((scale * scale_there) ** 2) / both
        middle = (here * scale + there * scale_there) / both
        through_scale = slope * (weighted * middle).mean(norm.axes, keepdim=True)
        return norm.centre(weighted * 2 * scale * scale_there / both + through_scale * (here + there))


class Halves(Difference):
    """As `Difference`, with the positive and the negative part of every difference followed apart.

    What is sent has both multipliers, m⁺ and m⁻, along its first dimension.
    """

    def __init__(self, here: Tape, there: Tape) -> None:
        super().__init__(here, there)
        self.positive = {id(here.input): self.of(here.input).clamp_min(0)}
        for call in here.calls:
            for output, part in zip(call.outputs, self._split(call), strict=True):
                self.positive[id(output)] = part

    def parts(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        """Δ⁺ and Δ⁻."""
        positive = self.positive[id(activation)]
        return positive, self.of(activation) - positive

    def reveal_cancel(self, call: Call, arriving: Sequence[Tensor]) -> Pairs:
        """Multipliers m⁺ and m⁻, stacked, by the linear and the RevealCancel rule."""
        if call.kind == "move":
            pulled = [call.pull([one[part] for one in arriving]) for part in (0, 1)]
            return [(source, torch.stack(both)) for source, *both in zip(call.sources, *pulled, strict=True)]
        (up, down), output = arriving[0], call.outputs[0]
        if call.kind in ("layer", "sum"):
            return [
                (source, self._linear(source, *weighted))
                for source, weighted in zip(call.sources, _signed_pulls(call, up, down), strict=True)
            ]
        (source, *_) = call.sources
        if call.kind == "affine" and output.shape == source.shape:
            (scale,) = call.pull([torch.ones_like(output)])
            sent = torch.stack([torch.where(scale > 0, up, down), torch.where(scale > 0, down, up)])
            return [(source, scale * sent)]
        if call.kind == "pointwise":
            return [(source, self._pointwise(call, up, down))]
        # What has no rule for parts: its difference is a rise or a fall as a whole.
        change = self.of(output)
        whole = torch.where(change > 0, up, torch.where(change < 0, down, (up + down) / 2))
        return [(source, one.expand(2, *one.shape)) for source, one in self.rescale(call, [whole])]

    def _split(self, call: Call) -> list[Tensor]:
        """Δ⁺ of a call's outputs."""
        if call.kind == "move":
            moved = call.replay([self.positive[id(source)] for source in call.sources])
            constants = call.replay([torch.zeros_like(source) for source in call.sources])
            return [one - constant for one, constant in zip(moved, constants, strict=True)]
        output = call.outputs[0]
        if call.kind == "layer":
            layer, change = layer_of(call), self.of(call.sources[0])
            up = layer.apply(change.clamp_min(0), layer.weight.clamp_min(0))
            return [up + layer.apply(change.clamp_max(0), layer.weight.clamp_max(0))]
        if call.kind == "sum":
            changes = [self.of(source) for source in call.sources]
            kept = [
                torch.where(sign > 0, change.clamp_min(0), change.clamp_max(0))
                for sign, change in zip(call.signs(), changes, strict=True)
            ]
            return call.replay(kept)
        (source, *_) = call.sources
        if call.kind == "affine" and output.shape == source.shape:
            (scale,) = call.pull([torch.ones_like(output)])
            positive, negative = self.parts(source)
            return [scale * torch.where(scale > 0, positive, negative)]
        if call.kind == "pointwise":
            positive, negative = self.parts(source)
            start = self.baseline[id(source)].expand_as(source)
            ends = [start, start + positive, start + negative, start + positive + negative]
            none, with_positive, with_negative, both = (call.replay([end])[0] for end in ends)
            return [(with_positive - none + both - with_negative) / 2]
        return [self.of(output).clamp_min(0)]

    def _linear(self, source: Tensor, same: Tensor, opposite: Tensor) -> Tensor:
        """The multiplier of a source of a linear map: of its rise or its fall, the mean where it has none."""
        change = self.of(source)
        one = torch.where(change > 0, same, torch.where(change < 0, opposite, (same + opposite) / 2))
        return one.expand(2, *one.shape)

    def _pointwise(self, call: Call, up: Tensor, down: Tensor) -> Tensor:
        """Δy⁺/Δx⁺ and Δy⁻/Δx⁻."""
        (source,), (output,) = call.sources, call.outputs
        sent = []
        near = rounding(torch.maximum(source.detach().abs(), self.baseline[id(source)].abs()))
        for multiplier, part, result in zip((up, down), self.parts(source), self.parts(output), strict=True):
            slope = call.pull([multiplier])[0]
            sent.append(torch.where(part.abs() <= near, slope, multiplier * result / part))
        return torch.stack(sent)


def rounding(size: Tensor) -> Tensor:
    """How little values of such a size may differ for a quotient of differences to say anything."""
    return 64 * torch.finfo(size.dtype).eps * size


def _mean_of_exp(one: Tensor, other: Tensor) -> Tensor:
    """(exp a − exp b) / (a − b), which is exp a where they are equal, and 0 where both are minus infinity."""
    high = torch.maximum(one, other)
    apart = (one - other).abs().masked_fill(one == other, 0)
    return high.exp() * torch.where(apart == 0, 1, -torch.expm1(-apart) / apart)


def _signed_pulls(call: Call, up: Tensor, down: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each source of a linear map, the multipliers of its rise and of its fall.

    A rise makes Δy⁺ through positive weights and Δy⁻ through negative ones, a fall the other way round.
    """
    if call.kind == "sum":
        pulled = zip(call.signs(), call.pull([up]), call.pull([down]), strict=True)
        return [(torch.where(s > 0, p, q), torch.where(s > 0, q, p)) for s, p, q in pulled]
    layer = layer_of(call)
    leaf = layer.source.detach().requires_grad_()
    with torch.enable_grad():
        signed = layer.apply(leaf, layer.weight.clamp_min(0)), layer.apply(leaf, layer.weight.clamp_max(0))
    rise = torch.autograd.grad(signed, leaf, (up, down), retain_graph=True)[0]
    fall = torch.autograd.grad(signed, leaf, (down, up))[0]
    return [(rise, fall)]
