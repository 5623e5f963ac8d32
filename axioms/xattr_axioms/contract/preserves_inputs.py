"""Are inputs and targets left as they were given?"""

import torch

from xattr_axioms.contract._calls import watch
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract, violation


@contract(statement="The method leaves the inputs and the targets that it is given as they are.")
def preserves_inputs(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Values and shapes: a caller uses these tensors again.

    Switching requires_grad on for the inputs is no violation: nearly every gradient method is written so.
    """
    call = watch(method, draw)
    for name, before, after in (
        ("inputs", draw.inputs, call.inputs),
        ("targets", draw.targets, call.targets),
    ):
        if after.shape != before.shape:
            return violation(f"{name} were {tuple(before.shape)} and are {tuple(after.shape)} afterwards")
        if not torch.equal(after, before):
            changed = int((after != before).flatten(1).any(1).sum()) if before.ndim > 1 else None
            rows = f" of {changed} of {len(before)}" if changed is not None else ""
            worst = float((after.double() - before.double()).abs().max())
            return violation(
                f"expected {name} unchanged, came values{rows} changed by up to {worst:.3g}; "
                f"work on {name}.clone()"
            )
    return violation("")
