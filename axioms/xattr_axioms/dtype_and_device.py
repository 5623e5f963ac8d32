"""Are attributions floating-point numbers, where the inputs are?"""

from xattr_axioms._calls import watched
from xattr_check.axiom import Measurement, contract, violation
from xattr_check.errors import MethodError
from xattr_check.explainer import Explainer, is_dense, shape_fault, type_fault
from xattr_check.run import Draw
from xattr_check.subject import Subject


@contract(statement="Attributions are floating-point numbers on the device of the inputs.")
def dtype_and_device(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Integers lose the sign or wrap around; a map elsewhere cannot be compared with its input."""
    maps = watched(method, draw).maps
    if not is_dense(maps):
        raise MethodError(shape_fault(maps, draw.inputs))
    return violation(type_fault(maps, draw.inputs))
