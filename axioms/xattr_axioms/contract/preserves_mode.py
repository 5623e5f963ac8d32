"""Is the model left in the mode it was in?"""

from xattr_axioms.contract._calls import unchanged
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract


@contract(statement="The method leaves train or eval mode and requires_grad of the model as they are.")
def preserves_mode(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """In train mode, BatchNorm and Dropout make the next prediction depend on its batch."""
    return unchanged(method, draw, "mode", "expected the mode unchanged, came {} switched")
