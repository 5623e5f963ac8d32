"""Input independence."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xattr_axioms.localisation._masks import foreground
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.layouts import Layout

# Steps of Adam, of a tenth of a standard deviation of the inputs. Twice as many halve what is left.
STEPS, RATE = 30, 0.1
# Of the change that the same values make elsewhere on the object: more is not "unchanged".
LEFT = 0.25
# The published threshold: attributions that differ by less count as the same.
SAME = 0.1


def unchanging(
    model: nn.Module,
    inputs: Tensor,
    mask: Tensor,
    every: Tensor,
    layout: Layout,
    generator: torch.Generator,
) -> Tensor:
    """(n, *F) a perturbation of masked features that leaves all outputs of the model as they were.

    mask: like inputs, 1 where they may change; every: (N, *F) the data, for their range and deviation. It
    starts as noise of that deviation and stays as large; what is optimised is the distance of the outputs, as
    in [yang2019].
    """
    spread = layout.deviation(every)
    noise = torch.randn(inputs.shape, generator=generator).to(inputs)
    delta = (noise * spread * mask).requires_grad_()
    sizes = delta.detach().flatten(1).norm(dim=1)
    low, high = every.amin(), every.amax()
    with torch.no_grad():
        outputs = model(inputs)
    optimizer = torch.optim.Adam([delta], lr=RATE * float(spread.mean()))
    for _ in range(STEPS):
        distance = (model(inputs + delta) - outputs).square().sum()
        (gradient,) = torch.autograd.grad(distance, delta)
        delta.grad = gradient * mask
        optimizer.step()
        with torch.no_grad():
            grown = sizes / delta.flatten(1).norm(dim=1).clamp_min(1e-12)
            delta *= grown.clamp_min(1).reshape(-1, *[1] * (inputs.ndim - 1))
            delta.copy_(((inputs + delta).clamp(low, high) - inputs) * mask)
    return delta.detach()


def shuffled(delta: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """(n, P, C) delta with its masked features, mask (n, P), in another order, for each input its own."""
    places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    keys = torch.rand(mask.shape, generator=generator).to(mask.device)
    # Masked features first, in their order and at random: the k-th of the one goes to the k-th of the other.
    source = torch.where(mask, keys, 2.0).argsort(1)
    target = torch.where(mask, places, mask.shape[1] + places).argsort(1)
    order = torch.empty_like(target).scatter_(1, target, source)
    return delta.gather(1, order[:, :, None].expand_as(delta))


@axiom(
    statement="What is changed without any effect on the output keeps its attribution.",
    family="relative",
    # What does not know which of the two changes has an effect comes to ½: edges, noise, and gradients, which
    # are no shares of an output. On the digits gradcam comes to 0.05 to 0.08, occlusion, integrated gradients
    # and deeplift to 0.09 to 0.16, input × gradient to 0.36.
    gate=AtMost(0.3),
    cites="yang2019",
    reads="of the change of attribution comes with a perturbation that has no effect, not with one that has",
    claimed=True,
    bounds=(0, 1),
    needs=("mask",),
    negative=("edges", "input_magnitude", "center", "constant"),
    cost="standard",
)
def input_independence(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """|ΔA| under a perturbation without effect, over that and |ΔA| under one with, for each input; ½ for 0/0.

    A is the attribution of what makes the target, of magnitudes where the method is a sensitivity. The
    perturbation without effect is optimised; the one with is the same in another order, so that both have the
    same size and the same values. One row for each input on which they are what they should be. The evidence
    has the rate of [yang2019]: whether A, always with its sign, changes by less than a tenth, which that of
    maps that ignore their input always does.
    """
    mask, layout = foreground(subject, draw), subject.layout

    def perturbed() -> dict[str, Tensor]:
        everywhere = mask[:, :, None].expand_as(layout.by_feature(draw.inputs))
        where = layout.from_features(everywhere).to(draw.inputs)
        with torch.enable_grad():
            noise = draw.generator("noise")
            delta = unchanging(subject.model, draw.inputs, where, subject.inputs, layout, noise)
        order = shuffled(layout.by_feature(delta), mask, draw.generator("order"))
        other = layout.from_features(order)
        low, high = subject.inputs.amin(), subject.inputs.amax()
        inputs = [draw.inputs + delta, (draw.inputs + other).clamp(low, high)]
        with torch.no_grad():
            before = subject.model(draw.inputs)
            changes = [(subject.model(one) - before).double().norm(dim=1) for one in inputs]
        return {"without": inputs[0], "with": inputs[1], "changes": torch.stack(changes, dim=1)}

    found = draw.shared("input_independence", perturbed, steps=STEPS, rate=RATE)
    rows = (found["changes"][:, 0] < LEFT * found["changes"][:, 1]).nonzero().squeeze(1)
    if not len(rows):
        raise Undefined(f"no perturbation of the mask leaves the outputs of {subject.name!r} as they are")

    def on_mask(amounts: Callable[..., Tensor], inputs: Tensor) -> Tensor:
        return (amounts(subject.model, inputs, draw.targets) * mask).sum(1)[rows]

    before, without, effective = (
        on_mask(method.scores, inputs) for inputs in (draw.inputs, found["without"], found["with"])
    )
    change, other = (before - without).abs(), (before - effective).abs()
    share = torch.where(change + other == 0, 0.5, change / (change + other).clamp_min(1e-300))
    before, without = (on_mask(method.signed, inputs) for inputs in (draw.inputs, found["without"]))
    change = (before - without).abs()
    same = (change < SAME * before.abs()) | (change == 0)
    return Measurement(share, evidence={"published": same.double(), "output_changes": found["changes"]})
