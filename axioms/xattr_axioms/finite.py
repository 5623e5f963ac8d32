"""Are attributions numbers?"""

from torch import Tensor

from xattr_axioms._calls import watched
from xattr_check.axiom import Measurement, contract, violation
from xattr_check.errors import MethodError
from xattr_check.explainer import Explainer, describe, finite_fault, type_fault
from xattr_check.run import Draw
from xattr_check.subject import Subject


@contract(statement="No attribution is NaN or infinite.")
def finite(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """One NaN, and every mean over the map is NaN."""
    maps = watched(method, draw).maps
    if not isinstance(maps, Tensor) or not maps.ndim:
        raise MethodError(f"expected a tensor, came {describe(maps)}")
    if fault := type_fault(maps, draw.inputs):
        raise MethodError(fault)
    return violation(finite_fault(maps))
