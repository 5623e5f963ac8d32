"""Relative input, output and representation stability."""

import math
from typing import Literal

import torch
from torch import Tensor

from xattr_axioms.stability._neighbours import change, map_changes, neighbours, representations
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom

To = Literal["input", "output", "representation"]
# Changes of outputs and representations below this share are rounding, and divide nothing.
LEAST = 1e-6


def median(samples: Tensor) -> float:
    """The middle of rows, of which a few are large where an output hardly moves."""
    return float(samples.median())


@axiom(
    statement="How much more a map changes beside its input than what the model makes of it.",
    family="stability",
    # As for `max_sensitivity`: a constant map has the best figure, and noise that each input seeds the worst.
    gate=AtMost(math.inf),
    cites="agarwal2022",
    reads="times as much as what it is measured against, in shares of their norms, a map changes at the most",
    statistic=median,
    bounds=(0, math.inf),
    cost="standard",
)
def relative_stability(
    method: Explainer, subject: Subject, draw: Draw, *, to: To = "output", radius: float = 0.1
) -> Measurement:
    """max (‖Φ(x′) − Φ(x)‖ / ‖Φ(x)‖) / (‖h(x′) − h(x)‖ / ‖h(x)‖) over neighbours x′ that are named as x is.

    h is the model's outputs, the input itself (`to=input`) or what the last layer is given
    (`to=representation`); neighbours are those of `max_sensitivity`, and an input that has none of its name
    is left out. Norms are those of whole maps: [agarwal2022] divides each number by its own, which those next
    to zero then decide, and outputs by nothing. A figure is to be read beside those of other methods on the
    same model: what is right of a steep model is steep.
    """
    found = list(neighbours(draw, radius))
    if to == "representation":
        moved = representations(draw, found)
    else:
        seen = draw.inputs if to == "input" else _outputs(subject, draw.inputs)
        beside = [one.inputs if to == "input" else _outputs(subject, one.inputs) for one in found]
        moved = torch.stack([change(seen, one) for one in beside], dim=1)
    same = torch.stack([one.same for one in found], dim=1)
    ratios = map_changes(method, draw, found) / moved.clamp_min(LEAST)
    largest = ratios.where(same, -torch.inf).amax(1)
    return Measurement(largest[same.any(1)], evidence={"ratios": ratios, "same_output": same})


@torch.no_grad()
def _outputs(subject: Subject, inputs: Tensor) -> Tensor:
    """(n, K) what the model says."""
    found: Tensor = subject.model(inputs)
    return found
