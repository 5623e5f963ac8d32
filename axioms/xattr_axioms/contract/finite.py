"""Are attributions numbers?"""

from xattr_axioms.contract._calls import watch
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract, violation
from xattr_check.core.faults import finite_fault, is_dense, shape_fault, type_fault
from xattr_check.errors import MethodError


@contract(statement="No attribution is NaN or infinite.")
def finite(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """One NaN, and every mean over the map is NaN."""
    maps = watch(method, draw).maps
    if not is_dense(maps) or not maps.ndim:
        raise MethodError(shape_fault(maps, draw.inputs, subject.layout))
    if fault := type_fault(maps, draw.inputs):
        raise MethodError(fault)
    return violation(finite_fault(maps))
