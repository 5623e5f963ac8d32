"""Are the gradients of the weights left as they were?"""

from xattr_axioms.contract._calls import unchanged
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract


@contract(statement="The method leaves .grad of the model's parameters as it is.")
def preserves_gradients(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """A gradient left behind is added to the next training step, and doubles the memory."""
    return unchanged(method, draw, "gradients", "expected gradients unchanged, came another .grad on {}")
