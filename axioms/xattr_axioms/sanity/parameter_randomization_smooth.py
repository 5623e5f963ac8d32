"""Smooth parameter randomisation: of maps from which noise has been averaged."""

import math
from collections.abc import Callable
from itertools import accumulate

import torch
from torch import Tensor, nn

from xattr_axioms.sanity._randomization import along_cascade
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.networks.randomize import cascade


@axiom(
    statement="How much of a map is left in that of a randomised model where noise is averaged out of both.",
    family="sanity",
    # No gate: guided backpropagation comes to 0.5 on the digits and 0.4 on beats, where a gradient, gradcam
    # and occlusion come to 0.24 at most, but to 0.45 on columns, beside 0.37 of occlusion and 0.38 of
    # integrated gradients, and to 0 on analytic networks, as a gradient. What asks no model comes to 1.
    gate=AtMost(math.inf),
    cites="hedstrom2024",
    reads="rank correlation with averaged maps of randomised models, above that of unrelated inputs",
    bounds=(-1, 1),
    # Eight maps for each of parameter_randomization.
    cost="full",
)
def parameter_randomization_smooth(
    method: Explainer, subject: Subject, draw: Draw, *, copies: int = 8, noise: float = 0.5
) -> Measurement:
    """As `parameter_randomization`, of means of the maps of noisy copies of an input, by network.

    A map that is noise about the same picture is unlike itself as soon as a weight changes; what is left when
    it is averaged shows the picture. The copies are the same for all networks, which keeps what the noise
    does out of the comparison; padding stays as it is.

    copies: of each input. noise: its deviation, as a share of the data's, by channel or by column.
    """
    groups = cascade(subject.model, draw.inputs)
    steps = list(accumulate(groups, lambda layers, group: layers + group))
    # Kept while the run lasts: maps are, by the identity of what made them.
    key = f"averaged {id(method)} {draw.seed} {copies} {noise}"
    smooth = draw.run.once(key, lambda: method.calling(_averaged(method, subject, draw, copies, noise)))
    return along_cascade(smooth, groups, steps, draw, "randomised from the output down to")


def _averaged(
    method: Explainer, subject: Subject, draw: Draw, copies: int, noise: float
) -> Callable[..., Tensor]:
    """The method, as the mean of its maps of noisy copies of the inputs that it is given."""
    shape = copies, *subject.inputs.shape[1:]
    moves = torch.randn(shape, generator=draw.generator("noise")).to(draw.inputs)
    moves = noise * moves * subject.layout.deviation(subject.inputs).to(moves)

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        valid = 1 if subject.valid is None else subject.layout.maps(subject.valid[subject.locate(inputs)])
        maps = (method.method(model, inputs + one * valid, targets) for one in moves)
        return torch.stack([one.detach() for one in maps]).mean(0)

    return explain
