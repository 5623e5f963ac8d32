"""Are attributions floating-point numbers, where the inputs are?"""

from xattr_axioms.contract._calls import watch
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract, violation
from xattr_check.core.faults import is_dense, shape_fault, type_fault
from xattr_check.errors import MethodError


@contract(statement="Attributions are floating-point numbers on the device of the inputs.")
def dtype_and_device(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Integers lose the sign or wrap around; a map elsewhere cannot be compared with its input."""
    maps = watch(method, draw).maps
    if not is_dense(maps):
        raise MethodError(shape_fault(maps, draw.inputs, subject.layout))
    return violation(type_fault(maps, draw.inputs))
