"""Are all hooks removed?"""

from xattr_axioms.contract._calls import unchanged
from xattr_check.core.checks import Measurement, contract
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw
from xattr_check.core.subject import Subject


@contract(statement="The method leaves the hooks and forward functions of the model as they are.")
def preserves_hooks(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """A hook that stays slows every later call, or changes what it computes."""
    return unchanged(method, draw, "hooks", "expected hooks and forward unchanged, came others on {}")
