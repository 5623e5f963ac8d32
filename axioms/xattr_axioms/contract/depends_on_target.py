"""Do the maps of two targets differ?"""

from xattr_axioms.contract._calls import distance_beyond_factor, seeded, slopes, steps
from xattr_check.core import Draw, Explainer, Measurement, Subject, Undefined, contract, violation

OTHERS = 3


@contract(
    statement="The maps of different targets differ, and not only by a factor.",
    negative=("random",),
)
def depends_on_target(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Violated where every input gets the same map, up to a positive factor, for its target and for others.

    Other targets are told apart by the model's own gradient: where theirs is the target's but for a positive
    factor, the maps may be the same, and so may unsigned ones where the factor is negative.
    """
    outputs = subject.examination.outputs
    if outputs < 2:
        raise Undefined(f"the model of {subject.name!r} has one output, and so there is one target")
    own = slopes(subject.model, draw.inputs, draw.targets)
    maps = seeded(method, subject.model, draw.inputs, draw.targets)
    unsigned = bool((maps >= 0).all())
    compared, rounding = 0, steps(draw)
    for step in range(1, min(outputs, OTHERS + 1)):
        targets = (draw.targets + step) % outputs
        other = slopes(subject.model, draw.inputs, targets)
        if own is not None and other is not None:
            apart = distance_beyond_factor(own, other, positive=not unsigned, floor=rounding)
            if bool((apart <= rounding).all()):
                continue
        compared += 1
        shown = seeded(method, subject.model, draw.inputs, targets)
        if bool((distance_beyond_factor(maps, shown, positive=True, floor=rounding) > rounding).any()):
            return violation("")
    if not compared:
        raise Undefined(f"the outputs of {subject.name!r} have the same gradient, but for a factor")
    return violation(
        f"expected other maps for other targets, came the same, up to a factor, for {len(draw.inputs)} inputs"
    )
