"""Are all hooks removed?"""

from xattr_axioms.contract._calls import unchanged
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract


@contract(statement="The method leaves the hooks and forward functions of the model as they are.")
def preserves_hooks(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """A hook that stays slows every later call, or changes what it computes."""
    return unchanged(method, draw, "hooks", "expected hooks and forward unchanged, came others on {}")
