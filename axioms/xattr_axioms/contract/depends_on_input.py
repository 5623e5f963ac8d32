"""Do different inputs get different maps?"""

from xattr_axioms.contract._calls import all_alike, repeat, slopes, steps
from xattr_check.core import Draw, Explainer, Measurement, Subject, Undefined, contract, violation


@contract(
    statement="Different inputs get different maps for the same target.",
    negative=("constant", "center"),
)
def depends_on_input(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Violated where all inputs get one map, whichever of their targets is explained.

    Other targets are tried because a rectified map may rightly be zero for most inputs. Where the model's
    own gradient is the same at all inputs, as that of a linear one, so may the maps be.
    """
    count = len(draw.inputs)
    if count < 2:
        raise Undefined(f"needs two inputs at least, subject {subject.name!r} has one")
    chosen = [draw.targets[:1].new_full((count,), int(target)) for target in draw.targets.unique()]
    rounding = steps(draw)
    gradients = [slopes(subject.model, draw.inputs, targets) for targets in chosen]
    if all(slope is not None and all_alike(slope, rounding) for slope in gradients):
        raise Undefined(f"the gradient of {subject.name!r} is the same at all inputs drawn")
    for targets in chosen:
        maps = repeat(method, subject.model, draw.inputs, targets)
        if draw.valid is not None:  # padding, on which there is nothing, tells texts of two lengths apart
            maps = maps * subject.layout.expand(draw.valid.all(0)).to(maps)
        if not all_alike(maps, rounding):
            return violation("")
    return violation(f"expected a map for each input, came the same for {count} different inputs")
