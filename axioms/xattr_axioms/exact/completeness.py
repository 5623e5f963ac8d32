"""Completeness."""

import torch
from torch import Tensor

from xattr_axioms.exact._copies import ESTIMATE, INPUTS, MORE, SHARE, passes, stream
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.context import first_rows
from xattr_check.core.precision import coarseness

# Relative gap beyond which a pair's sums do not tell its outputs. A quadrature of 50 points comes to 0.012 of
# all but one pair in a hundred on the networks at hand; a wrong weight of a tenth to 0.05 for nearly all of
# them, half of the path to as much as that for most.
TOLERANCE = 0.03
# A mean gap of no more than this may come of an integral that is taken in too few steps: where the output is
# steep on the way, as behind a LayerNorm, 50 steps leave 0.033 on a transformer, 200 leave 0.001.
COARSE = 0.1


@axiom(
    statement="Attributions sum to the change in output from the method's baseline.",
    family="exact",
    gate=AtMost(SHARE),
    cites="sundararajan2017",
    reads="of inputs, each beside another one, have attribution sums that are not the change in output",
    bounds=(0, 1),
    rows="shares",
    claimed=True,
    negative=("random", "constant"),
    inputs=INPUTS,
    then=MORE,
)
def completeness(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where |Σa(x) − Σa(y) − f(x) + f(y)| is more than 3 % of the two changes together, for each input x.

    y is another of the subject's inputs, explained for x's target, and the same one for x throughout a run:
    the output at the baseline cancels, so that the baseline of the method need not be known. It has to be the
    same for all inputs. The gap is over |Σa(x) − Σa(y)| + |f(x) − f(y)|, and where both outputs nearly agree
    over what |f(x) − f(y)| typically is: a quadrature's error does not shrink with their difference. The
    evidence has it, (n,).
    """
    beside = _partners(subject, draw)[draw.indices]
    # With the other inputs of x, and its padding, so that the baseline is the same as well.
    others = subject.inputs[beside.to(subject.inputs.device)]
    others = subject.where_valid(others, draw.inputs, draw.indices)
    targets = draw.targets[:, None]
    sums, outputs, other_sums, other_outputs = (
        values
        for inputs in (draw.inputs, others)
        for values in (
            method(subject.model, inputs, draw.targets).double().flatten(1).sum(1),
            _outputs(subject, inputs).gather(1, targets).squeeze(1),
        )
    )
    attributed, real = sums - other_sums, outputs - other_outputs
    scale = (attributed.abs() + real.abs()).clamp_min(_typical_change(subject, draw)).clamp_min(1e-12)
    # Of sums and outputs that are rounded to a coarse precision, one step is no gap.
    step = coarseness(subject.model, others) * outputs.abs().maximum(other_outputs.abs())
    gap = ((attributed - real).abs() - step).clamp_min(0) / scale
    worst = int(gap.argmax())
    mean = float(gap.mean())
    steps = ", which more steps may bring down where it is an integral along a path" if mean < COARSE else ""
    finding = (
        f"by {mean:.2g} of it on average{steps}; worst for input {int(draw.indices[worst])} against "
        f"{int(beside[worst])}: f(x) − f(y) = {float(real[worst]):.3g}, "
        f"Σa(x) − Σa(y) = {float(attributed[worst]):.3g}"
    )
    evidence = {"gap": gap, "attributed": attributed, "output": real}
    return Measurement((gap > TOLERANCE).double(), finding, evidence=evidence, passes=passes(method, draw))


def _partners(subject: Subject, draw: Draw) -> Tensor:
    """(N,) int64 which of the subject's inputs stands beside each of them: the next on a random circle.

    In another order than inputs are drawn, so that what is seen of one pair tells nothing of another.
    """
    count = len(subject.inputs)
    if count < 2:
        raise Undefined(f"needs at least 2 inputs, subject {subject.name!r} has {count}")
    circle = torch.randperm(count, generator=stream(draw, "completeness"))
    return torch.empty_like(circle).scatter_(0, circle, circle.roll(-1))


def _typical_change(subject: Subject, draw: Draw) -> float:
    """Mean |f(x) − f(y)| of some of the subject's inputs, for their targets: once in a run."""

    def compute() -> float:
        first, others = subject.inputs[:ESTIMATE], subject.inputs[_partners(subject, draw)[:ESTIMATE]]
        targets = subject.targets[:ESTIMATE, None]
        with first_rows(len(first)):
            others = subject.where_valid(others, first, torch.arange(len(first)))
            outputs, beside = _outputs(subject, first), _outputs(subject, others)
        changes = outputs.gather(1, targets) - beside.gather(1, targets)
        return float(changes.abs().mean())

    found: float = draw.run.once(f"typical change {subject.fingerprint}", compute)
    return found


def _outputs(subject: Subject, inputs: Tensor) -> Tensor:
    """(N, K) float64."""
    with torch.no_grad():
        outputs: Tensor = subject.model(inputs.clone()).double()
    return outputs
