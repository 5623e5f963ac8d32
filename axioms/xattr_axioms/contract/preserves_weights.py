"""Are the model's weights left as they were?"""

from xattr_axioms.contract._calls import unchanged
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract


@contract(statement="The method leaves parameters, buffers and submodules of the model as they are.")
def preserves_weights(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Bit by bit; BatchNorm statistics move on every forward pass in train mode."""
    return unchanged(method, draw, "weights", "expected the model unchanged, came {} changed")
