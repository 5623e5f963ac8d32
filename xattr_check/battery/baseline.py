"""Whether a method measures from zero where checks remove to the mean of the data."""

import torch
from torch import Tensor

from xattr_check.core.context import chosen
from xattr_check.core.explainer import Explainer
from xattr_check.core.outputs import score
from xattr_check.core.run import Draw
from xattr_check.core.subject import Subject

# Over the changes that they should sum to, how far from them sums of maps are that start at that baseline.
# Integrated gradients and Shapley values come to 0.004 and less on two networks of images and two of columns,
# nothing else that was asked to less than 0.5.
SUMS = 0.2
# Rows that go forward at once.
ROWS = 16


def from_zero(explainer: Explainer, subject: Subject, draw: Draw) -> bool:
    """Whether maps of a draw sum to what the output changes by from zero, and not from the data's mean.

    By completeness, Σa(x) = f(x) − f(x′) for the baseline x′ [sundararajan2017]. Of data whose mean is zero,
    or a model that gives both the same output, nothing is told.
    """
    if not subject.far_from_zero:
        return False
    with draw.scope():
        sums = explainer(subject.model, draw.inputs, draw.targets).double().flatten(1).sum(1).cpu()
        mean = subject.mean.expand_as(draw.inputs)
        real, zero, other = (
            _outputs(subject, draw, one) for one in (draw.inputs, torch.zeros_like(draw.inputs), mean)
        )
    gaps = [
        float((sums - change).abs().sum() / change.abs().sum().clamp_min(1e-12))
        for change in (real - zero, real - other)
    ]
    return gaps[0] <= SUMS and gaps[1] > max(SUMS, 2 * gaps[0])


@torch.no_grad()
def _outputs(subject: Subject, draw: Draw, inputs: Tensor) -> Tensor:
    """(n,) float64: the output of each row's target."""
    found = []
    for rows in torch.arange(len(inputs), device=inputs.device).split(ROWS):
        with chosen(rows):
            found.append(score(subject.model(inputs[rows]), draw.targets[rows]))
    return torch.cat(found).double().cpu()
