"""A map beside the same map without its detail."""

import math

import torch
from torch import Tensor, nn

from xattr_axioms.faithfulness.degradation import degradation
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.layouts import blurred
from xattr_check.perturbation.fills import Fill


@axiom(
    statement="How much better a map orders features than the same map blurred.",
    family="faithfulness",
    # No gate: what is made of few cells has no detail to lose, and no mistake in it. A figure below zero says
    # that the fine grain of a map misleads under removal, as that of a gradient may.
    gate=AtLeast(-math.inf),
    cites="samek2017",
    reads="of area between the output's changes is lost where a map is blurred",
    needs=("probability", "neighbours"),
    cost="standard",
)
def own_map_blurred(method: Explainer, subject: Subject, draw: Draw, *, fill: Fill = "mean") -> Measurement:
    """`degradation` of a map, less that of the map blurred by half of the subject's window, for each input.

    Single pixels are removed in both. Removal favours what is smooth, since neighbours go together: a method
    that comes to zero does as well by its blur, and what it says of single pixels is not seen to matter. Of a
    sensitivity magnitudes are blurred.
    """
    layout = subject.layout

    def without_detail(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = layout.maps(method.scores(model, inputs, targets)).to(inputs)
        return blurred(maps, max(1.0, layout.window / 2))

    check = degradation.with_parameters({"fill": fill})
    # One for the run, which keeps its maps.
    blurring = draw.run.once(f"blurred {id(method)}", lambda: method.calling(without_detail))
    whole, coarse = (check(one, subject, draw).samples for one in (method, blurring))
    return Measurement(whole - coarse, evidence={"areas": torch.stack([whole, coarse], dim=1)})
