"""Whether both orders of removal say the same of a map."""

import math

import torch
from torch import Tensor, nn

from xattr_axioms.faithfulness.degradation import degradation
from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.units import By
from xattr_check.perturbation.curves import area, shares
from xattr_check.perturbation.fills import Fill
from xattr_check.statistics.similarity import spearman
from xattr_check.storage.digest import digest

# Random orders that a map is held against, for each input.
ORDERS = 8


@axiom(
    statement="How far removal in both orders agrees whether a map is better than random ones.",
    family="faithfulness",
    # No gate: a map with the wrong sign is as consistent as the right one, since its one order is the other's
    # reverse. With two seeds right methods came to 0.87 and more on the digits, 0.83 and more on beats, 0.91
    # and more on columns, and so did gradcam with a wrong sign (0.98) and times edges (0.93), and the wrong
    # class on columns (0.92); noise came to 0.18 to 0.48, a gradient on columns to 0.69. A low figure says
    # that removal in one order does not tell what it tells in the other.
    gate=AtLeast(-math.inf),
    cites="rong2022",
    reads="mean agreement of both orders of removal about whether a random ranking is worse",
    bounds=(-1, 1),
    needs=("probability",),
    cost="standard",
)
def removal_consistency(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fill = "mean",
    by: By = "pixels",
    orders: int = ORDERS,
) -> Measurement:
    """Mean of sign(m − mᵣ) · sign(l − lᵣ) over random orders r of the features, for each input.

    m: the area under the change of `degradation` with the most relevant features first; l: one less that with
    the least. 1, where both orders rank the map and random ones alike, be it above them or below; −1, where
    what is better in one order is worse in the other, so that a single figure of removal depends on the
    order. [rong2022] ranks methods by each order and correlates the ranks. [tomsett2020] correlates m and l
    of one method over inputs, which is in the evidence: what makes an input lose its target sooner in any
    order raises m as it lowers l, so that this correlation is negative for many right methods.
    """
    check = degradation.with_parameters({"fill": fill, "by": by})
    places = shares(subject, by)

    def areas(explainer: Explainer) -> Tensor:
        found = check(explainer, subject, draw).evidence
        return torch.stack([area(found["morf"], places), 1 - area(found["lerf"], places)], dim=1)

    def compute() -> dict[str, Tensor]:
        return {"areas": torch.stack([areas(_at_random(method, draw, number)) for number in range(orders)])}

    # The same for all methods: a random order asks none.
    others = draw.shared("random orders", compute, fill=fill, by=by, orders=orders)["areas"]
    own = areas(method)
    gains = own - others
    over = spearman(own[None, :, 0], own[None, :, 1])
    evidence = {"areas": own, "gains": gains.mean(0), "correlation_over_inputs": over}
    return Measurement(gains.sign().prod(2).mean(0), evidence=evidence)


def _at_random(method: Explainer, draw: Draw, number: int) -> Explainer:
    """What ranks the features of each input at random, by a stream that is its own."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        layout, count = draw.subject.layout, math.prod(draw.subject.spatial)
        streams = (draw.generator("random order", number, digest(one)) for one in inputs)
        scores = torch.stack([torch.rand(count, generator=stream) for stream in streams])
        return layout.maps(scores).to(inputs)

    return method.calling(explain)
