"""Are the plain attributes of the model's modules left as they were?"""

from xattr_axioms.contract._calls import unchanged
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract


@contract(
    statement="The method leaves the attributes of the model's modules, and their classes, as they are."
)
def preserves_attributes(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """An eps or a stride that stays changed is another model; an activation that is kept fills the memory.

    What the model changes itself when it runs is no violation.
    """
    return unchanged(method, draw, "attributes", "expected attributes unchanged, came {}")
