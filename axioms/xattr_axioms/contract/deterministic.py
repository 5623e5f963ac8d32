"""Does a second call give the same map?"""

import torch
from torch import Tensor

from xattr_axioms.contract._calls import ROUNDING, distance, least_over_neighbours, steps, watch, within
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract
from xattr_check.core.faults import expect_usable


@contract(
    statement="Two calls give the same maps, or the method is declared stochastic and follows its seed.",
    reads="of a map's norm between two calls",
    at_most=ROUNDING,
)
def deterministic(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """From other states of the global generators; from the same for a method declared stochastic."""
    declared, rounding = method.method.stochastic, steps(draw)

    def apart(inputs: Tensor) -> Tensor:
        if inputs is draw.inputs:
            first = watch(method, draw).maps
            second = watch(method, draw, seed=1).maps if not declared else None
        else:
            first, second = method.raw(subject.model, inputs, draw.targets), None
        if second is None:
            second = method.raw(subject.model, inputs, draw.targets, seed=0 if declared else 1)
        maps = [expect_usable(part, inputs, subject.layout).double()[None] for part in (first, second)]
        return distance(maps[0], maps[1], rounding)

    apart_by = least_over_neighbours(apart, draw, rounding)
    worst = int(apart_by.argmax())
    finding = ""
    if float(apart_by[worst]) > rounding:
        share = f"{100 * float(apart_by[worst]):.3g} % of the map's norm on input {int(draw.indices[worst])}"
        finding = (
            f"expected the same maps from the same seeds of random, numpy and torch, came {share}; "
            "draw all noise from them, and keep no state between calls"
            if declared
            else f"expected the same maps from two calls, came {share}; fix the seed of its own generator, "
            "or put @xattr_check.stochastic above the method"
        )
    return Measurement(within(apart_by.to(torch.float64), rounding), finding)
