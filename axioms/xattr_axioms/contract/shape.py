"""Does every input get a map of its own shape?"""

from xattr_axioms.contract._calls import watch
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract, violation
from xattr_check.core.faults import shape_fault


@contract(statement="Attributions have the shape of the inputs, or one value for each position.")
def shape(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """A batch and a single input: a batch dimension of one is easily squeezed away."""
    if fault := shape_fault(watch(method, draw).maps, draw.inputs, subject.layout):
        return violation(fault)
    alone = method.raw(subject.model, draw.inputs[:1], draw.targets[:1])
    fault = shape_fault(alone, draw.inputs[:1], subject.layout)
    return violation(fault and f"for a batch of one input, {fault}")
