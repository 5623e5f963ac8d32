"""Are attributions numbers?"""

from xattr_axioms._calls import watched
from xattr_check.axiom import Measurement, contract, violation
from xattr_check.errors import MethodError
from xattr_check.explainer import Explainer, finite_fault, is_dense, shape_fault, type_fault
from xattr_check.run import Draw
from xattr_check.subject import Subject


@contract(statement="No attribution is NaN or infinite.")
def finite(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """One NaN, and every mean over the map is NaN."""
    maps = watched(method, draw).maps
    if not is_dense(maps) or not maps.ndim:
        raise MethodError(shape_fault(maps, draw.inputs))
    if fault := type_fault(maps, draw.inputs):
        raise MethodError(fault)
    return violation(finite_fault(maps))
