"""Completeness."""

import torch

from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.precision import coarseness


@axiom(
    statement="Attributions sum to the change in output from the method's baseline.",
    family="exact",
    # A quadrature of 50 points is within 2 % on the networks at hand; a wrong weight of 10 % is at 5 %.
    gate=AtMost(0.03),
    cites="sundararajan2017",
    reads="mean relative gap between differences of attribution sums and of outputs",
    bounds=(0, 1),
    rows="small",
    claimed=True,
    negative=("random", "constant"),
    inputs=32,
)
def completeness(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """|Σa(x) − Σa(y) − f(x) + f(y)| over |Σa(x) − Σa(y)| + |f(x) − f(y)|, for pairs x, y with one target.

    The output at the baseline cancels in each pair, so that the baseline of the method need not be known;
    it has to be the same for all inputs. Where both outputs nearly agree, the gap is over the mean
    |f(x) − f(y)| of the draw: a quadrature's error does not shrink with their difference. One row for each
    pair.
    """
    pairs = len(draw.inputs) // 2 * 2
    inputs, targets = draw.inputs[:pairs], draw.targets[:pairs].clone()
    targets[1::2] = targets[::2]
    with torch.no_grad():
        outputs = subject.model(inputs).double().gather(1, targets[:, None]).squeeze(1)
    sums = method(subject.model, inputs, targets).double().flatten(1).sum(1)
    attributed, real = sums[::2] - sums[1::2], outputs[::2] - outputs[1::2]
    scale = (attributed.abs() + real.abs()).clamp_min(real.abs().mean()).clamp_min(1e-12)
    # Of sums and outputs that are rounded to a coarse precision, one step is no gap.
    step = coarseness(subject.model, inputs) * outputs.abs().reshape(-1, 2).amax(1)
    gap = ((attributed - real).abs() - step).clamp_min(0) / scale
    worst = int(gap.argmax())
    finding = (
        f"worst for input {int(draw.indices[2 * worst])} against {int(draw.indices[2 * worst + 1])}: "
        f"f(x) − f(y) = {float(real[worst]):.3g}, Σa(x) − Σa(y) = {float(attributed[worst]):.3g}"
    )
    return Measurement(gap, finding, evidence={"attributed": attributed, "output": real})
